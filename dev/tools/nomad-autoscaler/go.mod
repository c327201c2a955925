module tools/nomad-autoscaler

go 1.23

// Not v0.4.7: it panics when policies come from files, github.com/hashicorp/nomad-autoscaler/issues/1167.
require github.com/hashicorp/nomad-autoscaler v0.4.6
