package terraform_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// What a role may do, as lines "ACTION PLACE SITE". Every other request of the matrix below is
// denied. SITE is home, or primary for what a server of another site asks of the primary one, or any.
var rights = map[string][]string{
	"all": {
		// User data: the release, and what it said last.
		"s3:GetObject release home", "s3:GetObjectVersion release home", "s3:PutObject own-report home",
		// Consul's retry_join.
		"ec2:DescribeInstances everything home",
		// nearcast provision: configure, ready, drain.
		"secretsmanager:GetSecretValue secret-nodes home",
		"autoscaling:CompleteLifecycleAction own-group home", "autoscaling:RecordLifecycleActionHeartbeat own-group home",
		// The Session Manager agent.
		"ssm:UpdateInstanceInformation instance any",
		"ssmmessages:CreateControlChannel everything any", "ssmmessages:CreateDataChannel everything any",
		"ssmmessages:OpenControlChannel everything any", "ssmmessages:OpenDataChannel everything any",
	},
	"server": {
		"secretsmanager:GetSecretValue secret-edge home", "secretsmanager:GetSecretValue secret-servers home",
		"secretsmanager:PutSecretValue secret-nodes home", "secretsmanager:PutSecretValue secret-edge home", "secretsmanager:PutSecretValue secret-servers home",

		// backup.sh. An operator restores, with their own rights.
		"s3:PutObject backup home",
		"s3:PutObject system-backup home", // servers of the release before
		// nomad-autoscaler's aws-asg.
		"autoscaling:DescribeAutoScalingGroups everything home", "autoscaling:DescribeInstanceRefreshes everything home", "autoscaling:DescribeScalingActivities everything home",
		"autoscaling:CreateOrUpdateTags group-stream-cpu home", "autoscaling:TerminateInstanceInAutoScalingGroup group-stream-cpu home", "autoscaling:UpdateAutoScalingGroup group-stream-cpu home",
	},
	"server, a pool of GPUs": {
		"autoscaling:CreateOrUpdateTags group-stream-gpu home", "autoscaling:TerminateInstanceInAutoScalingGroup group-stream-gpu home", "autoscaling:UpdateAutoScalingGroup group-stream-gpu home",
	},
	"server, another site": {
		// It joins the primary site's servers, and copies their secrets.
		"ec2:DescribeInstances everything primary",
		"secretsmanager:GetSecretValue secret-nodes primary", "secretsmanager:GetSecretValue secret-edge primary", "secretsmanager:GetSecretValue secret-servers primary",
	},
	"edge": {
		// nearcast provision health.
		"autoscaling:SetInstanceHealth own-group home", "autoscaling:DescribeAutoScalingGroups everything home",
		"secretsmanager:GetSecretValue secret-edge home",
		// brain/events.
		"s3:GetObject event home", "s3:PutObject event home", "s3:DeleteObject event home", "s3:ListBucket events home",
	},
	"stream": {
		"autoscaling:SetInstanceHealth own-group home", "autoscaling:DescribeAutoScalingGroups everything home",
		// seat/content.
		"s3:GetObject content home", "s3:GetObjectVersion content home", "s3:ListBucket content-bucket home", "s3:ListBucket content-prefix home",
	},
	"replication": {
		"s3:GetReplicationConfiguration content-bucket primary", "s3:ListBucket content-bucket primary", "s3:ListBucket content-prefix primary",
		"s3:GetObjectVersionForReplication content primary", "s3:GetObjectVersionAcl content primary", "s3:GetObjectVersionTagging content primary",
		"s3:ReplicateObject content other", "s3:ReplicateDelete content other", "s3:ReplicateTags content other",
	},
}

// The matrix: each action at each of its places, at each site.
var matrix = []struct{ actions, places []string }{
	{
		[]string{
			"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutObjectAcl", "s3:PutObjectTagging", "s3:GetObjectVersionForReplication",
			"s3:GetObjectVersionAcl", "s3:GetObjectVersionTagging", "s3:ReplicateObject", "s3:ReplicateDelete", "s3:ReplicateTags", "s3:BypassGovernanceRetention",
		},
		[]string{"release", "backup", "system-backup", "own-report", "another-report", "event", "content"},
	},
	{
		[]string{
			"s3:GetReplicationConfiguration", "s3:PutReplicationConfiguration", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:DeleteBucket",
			"s3:PutBucketVersioning", "s3:PutLifecycleConfiguration", "s3:PutBucketPublicAccessBlock",
		},
		[]string{"content-bucket", "system-bucket", "backup-bucket"},
	},
	{[]string{"s3:ListBucket", "s3:ListBucketVersions"}, []string{"content-bucket", "content-prefix", "system-bucket", "backup-bucket", "backups", "reports", "events"}},
	{
		[]string{
			"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecret", "secretsmanager:DeleteSecret", "secretsmanager:DescribeSecret",
			"secretsmanager:PutResourcePolicy", "secretsmanager:RotateSecret",
		},
		[]string{"secret-nodes", "secret-edge", "secret-servers", "secret-foreign"},
	},
	{
		[]string{
			"autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat", "autoscaling:SetInstanceHealth", "autoscaling:UpdateAutoScalingGroup", "autoscaling:TerminateInstanceInAutoScalingGroup",
			"autoscaling:CreateOrUpdateTags", "autoscaling:SetDesiredCapacity", "autoscaling:DeleteAutoScalingGroup", "autoscaling:DetachInstances", "autoscaling:AttachInstances",
			"autoscaling:StartInstanceRefresh", "autoscaling:SetInstanceProtection", "autoscaling:SuspendProcesses", "autoscaling:DeleteLifecycleHook", "autoscaling:PutLifecycleHook",
		},
		[]string{"own-group", "group-server", "group-edge", "group-stream-cpu", "group-stream-gpu"},
	},
	{
		[]string{
			"ec2:DescribeInstances", "ec2:DescribeVpcs", "ec2:DescribeInstanceAttribute", "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeInstanceRefreshes", "autoscaling:DescribeScalingActivities",
			"ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
			"secretsmanager:ListSecrets", "s3:ListAllMyBuckets", "iam:ListRoles", "cloudwatch:PutMetricData", "route53:ListHostedZones", "ssm:DescribeParameters",
		},
		[]string{"everything"},
	},
	{
		[]string{
			"ssm:UpdateInstanceInformation", "ssm:StartSession", "ssm:SendCommand", "ec2:TerminateInstances", "ec2:StopInstances", "ec2:RunInstances", "ec2:CreateTags", "ec2:ModifyInstanceAttribute",
			"ec2:ModifyInstanceMetadataOptions", "ec2:AssociateIamInstanceProfile", "ec2:GetConsoleOutput",
		},
		[]string{"instance"},
	},
	{[]string{"iam:PassRole", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy", "iam:AttachRolePolicy", "iam:GetRolePolicy", "sts:AssumeRole"}, []string{"role"}},
	{[]string{"ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupEgress"}, []string{"security-group"}},
	{[]string{"route53:ChangeResourceRecordSets"}, []string{"zone"}},
	{[]string{"ssm:GetParameter"}, []string{"parameter"}},
	{[]string{"kms:Decrypt"}, []string{"key"}},
}

const (
	account = "000000000000"
	primary = "eu-central-1"
	other   = "us-east-1"
)

// place gives the ARN of a place, and what a request to it carries.
func place(name, site, role string) (arn string, context map[string]string) {
	short := map[string]string{"eu-central-1": "eu", "us-east-1": "us"}[site]
	system, content, backups := "arn:aws:s3:::system-"+short, "arn:aws:s3:::content-"+short, "arn:aws:s3:::backups-"+short
	group := func(role string) string {
		return "arn:aws:autoscaling:" + site + ":" + account + ":autoScalingGroup:0c1e:autoScalingGroupName/nearcast-" + role
	}
	context = map[string]string{"aws:RequestedRegion": site, "aws:SecureTransport": "true"}
	switch {
	case name == "release":
		return system + "/release/nearcast.tar.gz", context
	case name == "backup":
		context["aws:RequestedRegion"] = map[string]string{"eu": "eu-west-1", "us": "ca-central-1"}[short]
		return backups + "/backups/consul-1.snap", context
	case name == "system-backup": // of an earlier release
		return system + "/backups/consul-1.snap", context
	case name == "own-report":
		return system + "/nodes/nearcast-" + role + "/i-1.txt", context
	case name == "another-report":
		return system + "/nodes/nearcast-other/i-1.txt", context
	case name == "event":
		return system + "/events/eu-central-1/state", context
	case name == "content":
		return content + "/viewer/model.glb", context
	case name == "content-bucket", name == "system-bucket", name == "backup-bucket":
		return map[string]string{"content-bucket": content, "system-bucket": system, "backup-bucket": backups}[name], context
	case name == "content-prefix":
		context["s3:prefix"] = "viewer/"
		return content, context
	case name == "backups":
		context["s3:prefix"] = "backups/"
		return backups, context
	case name == "reports", name == "events":
		context["s3:prefix"] = map[string]string{"reports": "nodes/", "events": "events/"}[name]
		return system, context
	case strings.HasPrefix(name, "secret-"):
		return "arn:aws:secretsmanager:" + site + ":" + account + ":secret:nearcast/" + strings.TrimPrefix(name, "secret-") + "-AbCdEf", context
	case name == "own-group":
		return group(role), context
	case strings.HasPrefix(name, "group-"):
		return group(strings.TrimPrefix(name, "group-")), context
	case name == "everything":
		return "*", context
	}
	return map[string]string{
		"instance":       "arn:aws:ec2:" + site + ":" + account + ":instance/i-0123456789abcdef0",
		"role":           "arn:aws:iam::" + account + ":role/nearcast-" + site + "-server",
		"security-group": "arn:aws:ec2:" + site + ":" + account + ":security-group/sg-0123456789abcdef0",
		"zone":           "arn:aws:route53:::hostedzone/Z0000000000000",
		"parameter":      "arn:aws:ssm:" + site + ":" + account + ":parameter/other",
		"key":            "arn:aws:kms:" + site + ":" + account + ":key/00000000-0000-0000-0000-000000000000",
	}[name], context
}

// request is one line of the matrix for one role.
type request struct {
	Policy   string            `json:"policy"`
	Action   string            `json:"action"`
	Resource string            `json:"resource"`
	Context  map[string]string `json:"context"`
	Bucket   string            `json:"bucket,omitempty"`

	says string
	want bool
	line string // of rights
}

// ask makes the requests of the matrix for one policy. lines are its rights.
func ask(policy, site, role string, lines []string) (all []request) {
	for _, m := range matrix {
		for _, action := range m.actions {
			for _, where := range m.places {
				for _, at := range []string{primary, other, "sa-east-1"} {
					if at == "sa-east-1" && (strings.HasPrefix(action, "s3:") || strings.HasPrefix(action, "secretsmanager:")) {
						continue // no site is there
					}
					r := request{Policy: policy, Action: action, says: fmt.Sprintf("%s: %s on %s of %s", policy, action, where, at)}
					r.Resource, r.Context = place(where, at, role)
					words := []string{"any", map[string]string{primary: "primary", other: "other"}[at]}
					if at == site {
						words = append(words, "home")
					}
					// A group of the same role is its own one.
					for _, name := range []string{where, strings.Replace(where, "own-group", "group-"+role, 1), strings.Replace(where, "group-"+role, "own-group", 1)} {
						for _, word := range words {
							if line := action + " " + name + " " + word; slices.Contains(lines, line) {
								r.want, r.line = true, line
							}
						}
					}
					if bucket, ok := strings.CutPrefix(r.Resource, "arn:aws:s3:::"); ok {
						bucket, _, _ = strings.Cut(bucket, "/")
						r.Bucket = "bucket " + bucket
					}
					all = append(all, r)
					if r.want && r.Bucket != "" {
						r.Context = maps.Clone(r.Context)
						r.Context["aws:SecureTransport"] = "false"
						r.want, r.says = false, r.says+" without TLS"
						all = append(all, r)
					}
				}
			}
		}
	}
	return all
}

type document struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// checkPolicies evaluates every policy of a state: what nodes ask of AWS is allowed, and nothing
// else of the matrix is.
func (s *state) checkPolicies(t *testing.T) {
	t.Helper()
	documents := s.policies()
	var requests []request
	unused := map[string]bool{}
	for name, d := range documents {
		site, role, _ := strings.Cut(name, " ")
		service, lines := "ec2", slices.Concat(rights["all"], rights[strings.Split(role, "-")[0]])
		switch {
		case strings.HasPrefix(name, "replication"):
			service, lines = "s3", rights["replication"]
		case role == "server" && site != primary:
			lines = slices.Concat(lines, rights["server, another site"], rights["server, a pool of GPUs"])
		}
		if d.Kind == "trust" && !strings.Contains(d.Text, `"Principal":{"Service":"`+service+`.amazonaws.com"}`) {
			t.Errorf("%s: not %s alone may take the role: %s", name, service, d.Text)
		}
		if d.Kind != "identity" {
			continue
		}
		for _, line := range lines {
			unused[name+": "+line] = true
		}
		for _, r := range ask(name, site, role, lines) {
			delete(unused, name+": "+r.line)
			requests = append(requests, r)
		}
	}
	for line := range unused {
		t.Errorf("%s is in no line of the matrix", line)
	}
	answer := evaluate(t, requests, documents)
	for _, fault := range answer.Faults {
		t.Error(fault)
	}
	allowed := 0
	for i, r := range requests {
		if answer.Allowed[i] {
			allowed++
		}
		if answer.Allowed[i] != r.want {
			t.Errorf("%s is %s", r.says, map[bool]string{true: "denied; a node asks for it", false: "allowed; no node needs it"}[r.want])
		}
	}
	t.Logf("%d policies, %d requests evaluated, %d allowed", len(documents), len(requests), allowed)
	if allowed < 50 || len(documents) < 15 {
		t.Error("too few policies or requests: the state has other resources than this test knows")
	}
}

// evaluation is what policies/evaluate.mjs answers.
type evaluation struct {
	Allowed []bool
	Faults  []string
}

func evaluate(t *testing.T, requests []request, documents map[string]document) (answer evaluation) {
	t.Helper()
	for _, program := range []string{"npm", "node"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: THE POLICIES WERE NOT EVALUATED", program)
		}
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("policies")); err != nil {
		t.Fatal(err)
	}
	if offline, err := testkit.NPMInstall(dir); offline != "" {
		t.Skipf("the npm registry was not reached: THE POLICIES WERE NOT EVALUATED: %s", offline)
	} else if err != nil {
		t.Fatal(err)
	}
	in, err := json.Marshal(map[string]any{"requests": requests, "documents": documents})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "in.json")
	if err := os.WriteFile(file, in, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, dir, "sh", "-c", "exec node evaluate.mjs <in.json")
	if err != nil {
		t.Fatalf("evaluate: %v\n%s", err, out)
	}
	if err := json.Unmarshal(out, &answer); err != nil || len(answer.Allowed) != len(requests) {
		t.Fatalf("evaluate answers for %d of %d requests: %v\n%s", len(answer.Allowed), len(requests), err, out)
	}
	return answer
}
