"""Every method with as few steps as it takes to show what it does."""

from hf_attrib.methods import (
    AGI,
    BIG,
    BSM,
    ISA,
    LA,
    MFABA,
    AttEXplore,
    BaselineAverage,
    CLime,
    DiscretizedIG,
    ExpectedGradients,
    GuidedIG,
    Lime,
    LooShapley,
    NoiseAverage,
    Owen,
    Rise,
    Shapley,
    SmoothGrad,
    Sobol,
    SquareGrad,
    VarGrad,
    methods,
)

#: Quick versions of methods that take long by default.
QUICK = {
    "agi": AGI(classes=2, eps=0.25, steps=3, rule="simpson"),
    "attexplore": AttEXplore(copies=3, eps=0.25, steps=4, rule="simpson"),
    "baseline_average": BaselineAverage("input_x_gradient", samples=3),
    "big": BIG(steps=4),
    "bsm": BSM(steps=4),
    "c_lime": CLime(samples=50),
    "discretized_ig": DiscretizedIG(words=4, neighbours=20, nodes=2),
    "expected_gradients": ExpectedGradients(samples=7, noise=0.1),
    "guided_ig": GuidedIG(steps=20, distance=0.05),
    "isa": ISA(rounds=2, steps=3, rule="gauss_legendre"),
    "la": LA(classes=2, eps=0.25, steps=3, rule="simpson"),
    "mfaba": MFABA(eps=0.25, steps=4, rule="simpson"),
    "noise_average": NoiseAverage("idgi", samples=3),
    "shapley": Shapley(samples=4),
    "loo_shapley": LooShapley(samples=2),
    "owen": Owen(samples=4),
    "lime": Lime(samples=50),
    "rise": Rise(samples=50),
    "sobol": Sobol(samples=4),
    "smooth_grad": SmoothGrad(samples=5),
    "square_grad": SquareGrad(samples=5),
    "var_grad": VarGrad(samples=5),
}


def quick(name):
    return QUICK.get(name) or methods()[name]()
