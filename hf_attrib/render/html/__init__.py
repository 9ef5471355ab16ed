"""Pages and notebook frames: HTML that loads nothing and runs what it brings."""
