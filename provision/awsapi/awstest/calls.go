package awstest

import "slices"

// Calls are the kinds of requests that programs of a node make of Cloud in the tests, as IAM names them. A
// test in which one makes another kind fails: add it here, and its right to the policies in
// terraform, whose tests evaluate them for these calls. The signature says the region of each.
var Calls = []string{
	"autoscaling:CompleteLifecycleAction",
	"autoscaling:DescribeAutoScalingGroups",
	"autoscaling:RecordLifecycleActionHeartbeat",
	"autoscaling:SetInstanceHealth",
	"secretsmanager:GetSecretValue",
	"secretsmanager:PutSecretValue",
}

// know checks a request whose signature is right.
func (c *Cloud) know(call string) {
	if !slices.Contains(Calls, call) {
		c.t.Errorf("a node asks AWS for %s, for which no policy is evaluated (awstest.Calls)", call)
	}
}
