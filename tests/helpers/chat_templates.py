# ruff: noqa: E501  (templates are read in the lines of their authors)
"""Chat templates in the manner of real families, and conversations that try them.

They are written anew and shortened: each keeps what its family does to contents, such as where it
trims, drops, moves, escapes or refuses them.
"""

_LOOP, _END = "{% for m in messages %}", "{% endfor %}"
_CHATML = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
_CHATML_PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
#: Words of a content that may be a list of parts.
_PARTS = (
    "{% macro words(c) %}{% if c is string %}{{ c }}{% elif c is iterable %}{% for p in c %}"
    "{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endif %}{% endmacro %}"
)
_CALLS = (
    "{% for c in m.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}"
)
_TOOLS = (
    "{% if tools %}<tools>{% for t in tools %}\n{{ t | tojson }}{% endfor %}\n</tools>\n{% endif %}"
)
_ALTERNATE = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}{% endfor %}"
)
#: Qwen 3 tells the last question of a user from answers of tools by how it begins.
_QWEN3_LAST = (
    "{% set ns = namespace(last=messages|length - 1, looking=true) %}"
    "{% for m in messages[::-1] %}{% set i = messages|length - 1 - loop.index0 %}"
    "{% if ns.looking and m.role == 'user' and m.content is string and not "
    "(m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>')) %}"
    "{% set ns.looking = false %}{% set ns.last = i %}{% endif %}{% endfor %}"
)

TEMPLATES = {
    "ChatML": _LOOP + _CHATML + _END + _CHATML_PROMPT,
    "Qwen 2.5": "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Qwen.<|im_end|>\n"
    "{% endif %}" + _TOOLS + _LOOP + "{% if m.role == 'tool' %}<|im_start|>user\n<tool_response>\n"
    "{{ m.content }}\n</tool_response><|im_end|>\n{% elif m.tool_calls %}<|im_start|>assistant"
    "{% if m.content %}\n{{ m.content }}{% endif %}\n" + _CALLS + "<|im_end|>\n{% else %}" + _CHATML
    + "{% endif %}" + _END + _CHATML_PROMPT,
    "Qwen 3": _QWEN3_LAST + _LOOP + "{% set content = m.content if m.content is string else '' %}"
    "{% if m.role == 'assistant' %}{% set thought = '' %}{% if m.reasoning_content is string %}"
    "{% set thought = m.reasoning_content %}{% elif '</think>' in content %}"
    "{% set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if loop.index0 > ns.last and (loop.last or thought) %}<|im_start|>assistant\n<think>\n"
    "{{ thought.strip('\n') }}\n</think>\n\n{{ content.lstrip('\n') }}{% else %}"
    "<|im_start|>assistant\n{{ content }}{% endif %}" + _CALLS + "<|im_end|>\n{% else %}"
    "<|im_start|>{{ m.role }}\n{{ content }}<|im_end|>\n{% endif %}" + _END + _CHATML_PROMPT
    + "{% if add_generation_prompt and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}",
    "Llama 2": "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}"
    "{% set system = messages[0].content %}{% else %}{% set rest = messages %}"
    "{% set system = false %}{% endif %}" + _ALTERNATE.replace("messages", "rest") +
    "{% for m in rest %}{% if loop.index0 == 0 and system != false %}"
    "{% set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + m.content %}{% else %}"
    "{% set content = m.content %}{% endif %}{% if m.role == 'user' %}"
    "{{ '<bos>[INST] ' + content.strip() + ' [/INST]' }}{% else %}"
    "{{ ' ' + content.strip() + ' <eos>' }}{% endif %}{% endfor %}",
    "Llama 3": "<bos>" + _LOOP + "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + "
    "m.content | trim + '<|eot_id|>' }}" + _END +
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "Llama 3.1": "<bos><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: 2023\n\n"
    "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}"
    "{% set messages = messages[1:] %}{% endif %}<|eot_id|>" + _LOOP +
    "{% if m.role == 'tool' %}<|start_header_id|>ipython<|end_header_id|>\n\n"
    "{{ m.content | tojson }}<|eot_id|>{% elif m.tool_calls %}"
    "{% if m.tool_calls | length != 1 %}{{ raise_exception('only single tool-calls at once!') }}"
    "{% endif %}<|start_header_id|>assistant<|end_header_id|>\n\n"
    '{"name": "{{ m.tool_calls[0].function.name }}"}<|eot_id|>{% else %}'
    "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endif %}"
    + _END + "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "Mistral": "<bos>{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'user' %}[INST] {% if loop.last and system is defined %}"
    "{{ system }}\n\n{% endif %}{{ m.content }}[/INST]{% elif m.tool_calls %}[TOOL_CALLS] "
    "{{ m.tool_calls | tojson }}<eos>{% elif m.role == 'tool' %}[TOOL_RESULTS] "
    '{"content": {{ m.content }}}[/TOOL_RESULTS]{% else %} {{ m.content | trim }}<eos>{% endif %}'
    "{% endfor %}",
    "Mistral v0.1": "<bos>" + _ALTERNATE + _LOOP + "{% if m.role == 'user' %}"
    "{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ m.content + '<eos> ' }}{% endif %}" + _END,
    "Gemma": "<bos>{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + _ALTERNATE + _LOOP +
    "{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}" + _END +
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    "Gemma 3": "<bos>{% if messages[0].role == 'system' %}{% if messages[0].content is string %}"
    "{% set first = messages[0].content + '\n\n' %}{% else %}"
    "{% set first = messages[0].content[0].text + '\n\n' %}{% endif %}{% set rest = messages[1:] %}"
    "{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ first if loop.first else '' }}{% if m.content is string %}{{ m.content | trim }}"
    "{% elif m.content is iterable %}{% for p in m.content %}{% if p.type == 'text' %}"
    "{{ p.text | trim }}{% endif %}{% endfor %}{% endif %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    "Phi-3": _LOOP + "{% if m.role in ['system', 'user'] %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n"
    "{% elif m.role == 'assistant' %}<|assistant|>\n{{ m.content }}<|end|>\n{% endif %}" + _END +
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}<eos>{% endif %}",
    "Phi-4": _LOOP + "<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>" + _END +
    "{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>{% endif %}",
    "DeepSeek-R1": "{% set ns = namespace(system='') %}" + _LOOP + "{% if m.role == 'system' %}"
    "{% set ns.system = m.content %}{% endif %}" + _END + "<bos>{{ ns.system }}" + _LOOP +
    "{% if m.role == 'user' %}<|User|>{{ m.content }}{% elif m.role == 'assistant' and m.content "
    "is string %}{% set content = m.content %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}<|Assistant|>{{ content }}<eos>"
    "{% elif m.role == 'tool' %}<|tool_outputs|>{{ m.content }}{% endif %}" + _END +
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}",
    "Granite 3": "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set rest = messages[1:] %}{% else %}{% set system = 'You are Granite.' %}"
    "{% set rest = messages %}{% endif %}<|start_of_role|>system<|end_of_role|>{{ system }}<eos>\n"
    "{% if documents %}<|start_of_role|>documents<|end_of_role|>{% for d in documents %}"
    "Document {{ loop.index }}\n{{ d.text }}{% if not loop.last %}\n\n{% endif %}{% endfor %}<eos>\n"
    "{% endif %}{% for m in rest %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<eos>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}",
    "Granite 4": _PARTS + _LOOP + "<|start_of_role|>{{ m.role }}<|end_of_role|>{{ words(m.content) }}"
    + _CALLS + "{% if documents and loop.first %}\n<documents>{% for d in documents %}\n"
    "{{ d | tojson }}{% endfor %}\n</documents>{% endif %}<|end_of_text|>\n" + _END +
    "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}",
    "Command R7B": "<bos>{% if documents %}{% for d in documents %}<doc>{{ d.text | tojson }}</doc>"
    "{% endfor %}{% endif %}" + _LOOP + "{% if m.role | lower == 'system' %}<|SYSTEM|>{{ m.content }}"
    "<|END|>{% elif m.role | lower == 'user' %}<|USER|>{{ m.content }}<|END|>"
    "{% elif m.role | lower in ['assistant', 'chatbot'] %}<|CHATBOT|><|START_RESPONSE|>"
    "{{ m.content }}<|END_RESPONSE|><|END|>{% elif m.role == 'tool' %}<|SYSTEM|>[\n"
    '    {"results": {"0": {{ m.content | tojson }}}}\n]<|END|>{% endif %}' + _END +
    "{% if add_generation_prompt %}<|CHATBOT|><|START_RESPONSE|>{% endif %}",
    "Zephyr": _LOOP + "{% if m.role == 'user' %}{{ '<|user|>\n' + m.content + '<eos>' }}"
    "{% elif m.role == 'system' %}{{ '<|system|>\n' + m.content + '<eos>' }}"
    "{% elif m.role == 'assistant' %}{{ '<|assistant|>\n' + (m.content or '') + '<eos>' }}{% endif %}"
    "\n" + _END + "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    "Vicuna": "{% if messages[0].role == 'system' %}{{ messages[0].content }}\n\n"
    "{% set rest = messages[1:] %}{% else %}A chat.\n\n{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'user' %}USER: {{ m.content | trim }}\n{% else %}"
    "ASSISTANT: {{ m.content | trim }}<eos>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}",
    "Alpaca": _LOOP + "{% if m.role == 'system' %}{{ m.content + '\n\n' }}{% elif m.role == 'user' %}"
    "{{ '### Instruction:\n' + m.content + '\n\n' }}{% elif m.content %}"
    "{{ '### Response:\n' + m.content + '\n\n' }}{% endif %}" + _END +
    "{% if add_generation_prompt %}### Response:\n{% endif %}",
    "Falcon": _LOOP + "{% if not loop.first %}\n{% endif %}{% if m.role == 'system' %}"
    "{{ 'System: ' + m.content }}{% elif m.role == 'user' %}{{ 'User: ' + m.content }}{% else %}"
    "{{ 'Falcon: ' + (m.content or '') }}{% endif %}" + _END +
    "{% if add_generation_prompt %}\nFalcon:{% endif %}",
    "OLMo": "<eos>" + _LOOP + "{% if m.role == 'assistant' and not loop.last %}<|assistant|>\n"
    "{{ m.content }}<eos>\n{% else %}<|{{ m.role }}|>\n{{ m.content }}{% if not loop.last %}\n"
    "{% endif %}{% endif %}" + _END + "{% if add_generation_prompt %}\n<|assistant|>\n{% endif %}",
    "StarChat": _LOOP + "<|{{ m.role }}|>\n{{ m.content }}<|end|>\n" + _END +
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    "Yi": "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% endif %}"
    "{% if system is defined %}{{ system }}{% endif %}" + _LOOP + "{% if m.role == 'user' %}"
    "{{ '<|im_start|>user\n' + m.content + '<|im_end|>\n<|im_start|>assistant\n' }}"
    "{% elif m.role == 'assistant' %}{{ (m.content or '') + '<|im_end|>\n' }}{% endif %}" + _END,
    "InternLM": "<bos>" + _LOOP + "{{ '<|im_start|>' + m.role + '\n' + (m.content or '') + "
    "'<|im_end|>\n' }}" + _END + _CHATML_PROMPT,
    "GLM-4": "[gMASK]<sop>" + _LOOP + "<|{{ 'observation' if m.role == 'tool' else m.role }}|>\n"
    "{% if m.role == 'assistant' %}{% if '</think>' in (m.content or '') %}"
    "{{ m.content.split('</think>')[-1].strip() }}{% else %}{{ m.content or '' }}{% endif %}"
    "{% for c in m.tool_calls or [] %}<|assistant|>{{ c.function.name }}\n"
    "{{ c.function.arguments | tojson }}{% endfor %}{% else %}{{ m.content }}{% endif %}" + _END +
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "Hermes": _TOOLS + _LOOP + "{% if m.role == 'tool' %}{% if loop.previtem and "
    "loop.previtem.role != 'tool' %}<|im_start|>tool\n{% endif %}<tool_response>\n{{ m.content }}\n"
    "</tool_response>{% if loop.last or loop.nextitem.role != 'tool' %}<|im_end|>\n{% endif %}"
    "{% elif m.role == 'assistant' and m.tool_calls %}<|im_start|>assistant\n" + _CALLS +
    "<|im_end|>\n{% else %}" + _CHATML + "{% endif %}" + _END + _CHATML_PROMPT,
    "Functionary": _LOOP + "{% if m.role in ['user', 'system'] %}<|from|>{{ m.role }}\n<|recipient|>"
    "all\n<|content|>{{ m.content }}\n{% elif m.role == 'tool' %}<|from|>{{ m.name or 'tool' }}\n"
    "<|content|>{{ m.content }}\n{% else %}{% if m.content %}<|from|>assistant\n<|recipient|>all\n"
    "<|content|>{{ m.content }}{% endif %}{% for c in m.tool_calls or [] %}<|recipient|>"
    "{{ c.function.name }}\n<|content|>{{ c.function.arguments | tojson }}{% endfor %}<|stop|>\n"
    "{% endif %}" + _END + "{% if add_generation_prompt %}<|from|>assistant\n<|recipient|>{% endif %}",
    "SmolLM": "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are SmolLM<|im_end|>\n"
    "{% endif %}" + _LOOP + "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}"
    + _END + _CHATML_PROMPT,
    "SmolLM 3": "{% if messages[0].role == 'system' %}{% set ns = namespace(system=messages[0]"
    ".content) %}{% if '/no_think' in ns.system %}{% set ns.system = ns.system.replace('/no_think', "
    "'').rstrip() %}{% endif %}<|im_start|>system\n{{ ns.system }}<|im_end|>\n"
    "{% set messages = messages[1:] %}{% endif %}" + _LOOP + "{% set content = m.content if m.content "
    "is string else '' %}<|im_start|>{{ m.role }}\n{{ content.lstrip('\n') }}<|im_end|>\n" + _END
    + _CHATML_PROMPT,
    "Nemotron": "<bos>{% if messages[0].role == 'system' %}<SPECIAL_10>System\n"
    "{{ messages[0].content.strip() }}\n{% set messages = messages[1:] %}{% endif %}" + _LOOP +
    "{% if m.role == 'user' %}<SPECIAL_11>User\n{{ m.content.replace('/think', '').strip() }}\n"
    "{% elif m.role == 'assistant' %}<SPECIAL_11>Assistant\n{% if m.content and '</think>' in "
    "m.content %}{{ m.content.split('</think>')[1].strip() }}{% else %}"
    "{{ (m.content or '').strip() }}{% endif %}\n<SPECIAL_12>\n{% endif %}" + _END +
    "{% if add_generation_prompt %}<SPECIAL_11>Assistant\n<think>\n{% endif %}",
    "Magistral": _PARTS + "<bos>" + _LOOP + "{% if m.role == 'system' %}[SYSTEM_PROMPT]"
    "{{ words(m.content) }}[/SYSTEM_PROMPT]{% elif m.role == 'user' %}[INST]{{ words(m.content) }}"
    "[/INST]{% elif m.role == 'assistant' %}{{ words(m.content) }}<eos>{% elif m.role == 'tool' %}"
    "[TOOL_RESULTS]{{ words(m.content) }}[/TOOL_RESULTS]{% endif %}" + _END,
    "gpt-oss": _LOOP + "{% if m.role in ['system', 'developer'] %}<|start|>developer<|message|>"
    "# Instructions\n\n{{ m.content }}\n\n<|end|>{% elif m.role == 'assistant' %}"
    "{% if m.thinking and loop.last %}<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}"
    "<|end|>{% endif %}{% if m.content is string %}<|start|>assistant<|channel|>final<|message|>"
    "{{ m.content }}<|end|>{% endif %}{% elif m.role == 'tool' %}<|start|>functions to=assistant"
    "<|message|>{{ m.content | tojson }}<|end|>{% else %}<|start|>user<|message|>{{ m.content }}<|end|>"
    "{% endif %}" + _END + "{% if add_generation_prompt %}<|start|>assistant{% endif %}",
    "indexed": _LOOP + "<{{ m.role }}>{{ m.content if m.content is string else m.content[0].text }}\n"
    + _END,
}  # fmt: skip

#: Templates that have a place for documents.
WITH_DOCUMENTS = {
    **{name: TEMPLATES[name] for name in ("Granite 3", "Granite 4", "Command R7B")},
    "Granite 3.3": "{% for d in documents or [] %}<|start_of_role|>document {\"document_id\": \""
    "{{ d.doc_id | string }}\"}<|end_of_role|>\n{{ d['text'] }}<eos>\n{% endfor %}" + _LOOP +
    "<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<eos>\n" + _END +
    "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}",
    "Command A": "<bos>{% if documents %}<|SYSTEM|><results>[{\"tool_call_id\": \"0\", \"results\": { "
    "{% for d in documents %}\n    \"{{ loop.index0 }}\": {{ d | tojson }}{{ '' if loop.last else ',' }}"
    "{% endfor %}\n}}]</results><|END|>{% endif %}" + _LOOP + "<|{{ m.role | upper }}|>{{ m.content }}"
    "<|END|>" + _END + "{% if add_generation_prompt %}<|CHATBOT|>{% endif %}",
    "trimmed": "{% for d in documents or [] %}<doc>{{ d.text | trim }}</doc>{% endfor %}" + TEMPLATES["ChatML"],
    "told to write": "{% set ns = namespace(text='') %}{% for d in documents or [] %}"
    "{% if d.text | trim %}{% set ns.text = ns.text + '* ' + d.text + '\n' %}{% endif %}{% endfor %}"
    "{{ ns.text }}" + TEMPLATES["ChatML"],
}  # fmt: skip


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def _parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
_HI = said("user", "Hi")

CONVERSATIONS = {
    "one message": ([said("user", "What is red?")], {}),
    "system": ([said("system", "Be brief."), _HI, said("assistant", "Hello"), said("user", "So?")], {}),
    "empty system": ([said("system", ""), _HI], {}),
    "system of white space": ([said("system", " \n "), _HI], {}),
    "parts": (
        [said("system", _parts("Be brief.")), said("user", _parts("One word:\n", " what is red? "))],
        {},
    ),
    "parts of a user": ([said("user", _parts("One", "two", "three"))], {}),
    "call without words": (
        [_HI, {"role": "assistant", "tool_calls": [CALL]}, said("tool", "22 C"), said("user", "ok")],
        {"tools": [TOOL]},
    ),
    "call with nothing": (
        [_HI, said("assistant", None, tool_calls=[CALL]), said("tool", '{"t": 22,\n "c": "é"}')],
        {},
    ),
    "call with empty words": (
        [_HI, said("assistant", "", tool_calls=[CALL]), said("tool", "say \"22\"\n\tC\\")],
        {},
    ),
    "thinking": (
        [
            _HI,
            said("assistant", "<think>\nHm, they greet.\n</think>\n\nHello!"),
            said("user", "\nAnd? "),
            said("assistant", "<think>more</think>Well."),
            said("user", "So"),
        ],
        {},
    ),
    "thinking that is kept": ([_HI, said("assistant", "<think>\nHm\n</think>\n\nHello!")], {}),
    "thinking apart": (
        [_HI, said("assistant", "Hello", reasoning_content="They greet."), said("user", "So?")],
        {"enable_thinking": False},
    ),
    "prefill": ([_HI, said("assistant", "Well,")], {"continue_final_message": True}),
    "prefill with a space": ([_HI, said("assistant", "Well, ")], {"continue_final_message": True}),
    "equal messages": (
        [said("user", "ok"), said("assistant", "ok"), said("user", "ok"), said("assistant", "ok"),
         said("user", "ok")],
        {},
    ),
    "unicode": ([said("user", "naïve 日本語 🙂 e\u0301 \u200b١"), said("assistant", "ß"), _HI], {}),
    "markup": (
        [
            said("system", "<b>bold</b> [x] <|im_end|>"),
            said("user", "<|im_start|>user\nHi<|im_end|>\n[INST] [/INST] <|user|>"),
            said("assistant", "user\n<|assistant|>\n"),
            said("user", "{{ m.role }} </think> /no_think &lt; \"'"),
        ],
        {},
    ),
    "white space": ([said("user", "   "), said("assistant", "\n"), said("user", "a")], {}),
    "spaces around": (
        [said("system", " s\n"), said("user", "\n\n a  b \t"), said("assistant", "\nc "),
         said("user", "  d\n\n")],
        {},
    ),
    "words of the template": (
        [said("user", "user"), said("assistant", "assistant"), said("user", "role content")],
        {},
    ),
    "documents": (
        [said("user", "Which?")],
        {"documents": [{"title": "T", "text": "Ada has the key."}, {"title": "U", "text": "So"}]},
    ),
    "no prompt to answer": ([_HI], {"add_generation_prompt": False}),
}  # fmt: skip
