"""Score predictions against a truth; arrays only."""
