package terraform_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// plan is what a run of a test planned.
type plan struct {
	Run     string     `json:"-"`
	Changes []resource `json:"resource_changes"`
}

// resource is a resource of a plan, and the planned change.
type resource struct {
	Address string `json:"address"`
	Module  string `json:"module_address"`
	Mode    string `json:"mode"`
	Type    string `json:"type"`
	Name    string `json:"name"`
	Change  struct {
		Actions []string       `json:"actions"`
		Before  map[string]any `json:"before"`
		After   map[string]any `json:"after"`
		Unknown map[string]any `json:"after_unknown"`
	} `json:"change"`
}

// report is the result of terraform test for a file.
type report struct {
	status   string
	passed   int
	problems []string
	plans    []plan
	states   []state
}

func (r *report) said() string {
	if r == nil {
		return "it was not run"
	}
	return strings.Join(r.problems, "\n")
}

// read sorts the output of terraform test -json by file, without folder and extension.
// Messages without a file count for each file.
func read(out []byte) map[string]*report {
	files := map[string]*report{}
	var common []string
	for line := range bytes.Lines(out) {
		var event struct {
			Type    string `json:"type"`
			Message string `json:"@message"`
			File    string `json:"@testfile"`
			Run     string `json:"@testrun"`
			Plan    *plan  `json:"test_plan"`
			State   *state `json:"test_state"`
			TestRun struct {
				Progress string `json:"progress"`
				Status   string `json:"status"`
			} `json:"test_run"`
			TestFile struct {
				Status string `json:"status"`
			} `json:"test_file"`
			Diagnostic struct {
				Severity string `json:"severity"`
				Detail   string `json:"detail"`
			} `json:"diagnostic"`
		}
		if err := json.Unmarshal(line, &event); err != nil {
			// Output from before the tests.
			common = append(common, string(line))
			continue
		}
		if event.File == "" {
			if event.Type == "diagnostic" && event.Diagnostic.Severity == "error" {
				common = append(common, event.Message+"\n"+event.Diagnostic.Detail)
			}
			continue
		}
		name := strings.TrimSuffix(path.Base(event.File), ".tftest.hcl")
		f := files[name]
		if f == nil {
			f = &report{}
			files[name] = f
		}
		switch event.Type {
		case "test_plan":
			event.Plan.Run = event.Run
			f.plans = append(f.plans, *event.Plan)
		case "test_state":
			f.states = append(f.states, *event.State)
		case "test_run":
			if event.TestRun.Progress == "complete" && event.TestRun.Status == "pass" {
				f.passed++
			}
		case "test_file":
			f.status = event.TestFile.Status
		case "diagnostic":
			f.problems = append(f.problems, event.Message+"\n"+event.Diagnostic.Detail)
		}
	}
	for _, f := range files {
		f.problems = append(f.problems, common...)
	}
	return files
}

// managed returns the resources that exist after the plan.
func (p plan) managed(types ...string) []resource {
	var found []resource
	for _, r := range p.Changes {
		if r.Mode == "managed" && r.Change.After != nil && (len(types) == 0 || slices.Contains(types, r.Type)) {
			found = append(found, r)
		}
	}
	return found
}

// text returns an attribute as text; empty if it is not known.
func (r resource) text(name string) string {
	if v, ok := r.Change.After[name]; ok && v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

// block is the only block of a name.
func block(in map[string]any, name string) map[string]any {
	list, _ := in[name].([]any)
	if len(list) != 1 {
		return nil
	}
	b, _ := list[0].(map[string]any)
	return b
}

// check has the rules for every plan with sites.
func (p plan) check(t *testing.T) {
	t.Helper()
	p.checkRegions(t)
	p.checkOpen(t)
	p.checkNodes(t)
	p.checkGroups(t)
	p.checkBuckets(t)
	p.checkState(t)
}

// checkRegions finds resources without a region: they would be made in the provider's
// region, for whatever site they are.
func (p plan) checkRegions(t *testing.T) {
	t.Helper()
	abroad := []string{
		// These exist only in us-east-1.
		"aws_sns_topic.global", "aws_cloudwatch_metric_alarm.unreachable",
	}
	backups := map[string]string{} // by site: its parts are in one region
	for _, r := range p.managed() {
		region := r.text("region")
		if _, has := r.Change.After["region"]; !has && r.Change.Unknown["region"] == nil {
			continue // global, like roles and names
		}
		want := between(r.Module, `module.region["`, `"]`)
		pair := between(r.Module, `module.peering["`, `"]`)
		switch {
		case slices.Contains(abroad, r.Type+"."+r.Name):
			want = "us-east-1"
		case strings.HasPrefix(r.Module, "module.replication"):
			want = "eu-central-1"
		case strings.HasPrefix(r.Type, "aws_s3_bucket") && strings.HasSuffix(r.Address, `["backups"]`):
			site := want
			if want = backups[site]; want == "" {
				want, backups[site] = region, region
			}
			if region == site {
				t.Errorf("%s: %s is in the region of its own site", p.Run, r.Address)
			}
		case pair != "" && slices.Contains(strings.Split(pair, "--"), region):
			want = region
		}
		if region == "" || region != want {
			t.Errorf("%s: %s is made in region %q; want %q", p.Run, r.Address, region, want)
		}
	}
}

func between(s, before, after string) string {
	if _, s, found := strings.Cut(s, before); found {
		s, _, _ = strings.Cut(s, after)
		return s
	}
	return ""
}

// checkOpen finds what is open to the internet.
func (p plan) checkOpen(t *testing.T) {
	t.Helper()
	allowed := map[string]bool{"tcp 443-443": true, "udp 20000-20999": true, "tcp 20000-20999": true}
	if p.Run == "open_with_turn" || p.Run == "twelve_sites" {
		for _, more := range []string{"tcp 3478-3478", "udp 3478-3478", "udp 21000-21999"} {
			allowed[more] = true
		}
	}
	if p.Run == "cheaper" {
		allowed["tcp 8443-8443"] = true
	}
	seen := map[string]bool{}
	for _, r := range p.managed("aws_vpc_security_group_ingress_rule") {
		from := r.text("cidr_ipv4") + r.text("cidr_ipv6") + r.text("prefix_list_id")
		if r.Change.Unknown["cidr_ipv4"] == true || strings.HasSuffix(from, "/0") || r.text("prefix_list_id") != "" {
			opened := fmt.Sprintf("%s %s-%s", r.text("ip_protocol"), r.text("from_port"), r.text("to_port"))
			seen[opened] = true
			if !allowed[opened] {
				t.Errorf("%s: %s opens %s to %s", p.Run, r.Address, opened, from)
			}
		}
	}
	if !maps.Equal(seen, allowed) {
		t.Errorf("%s: open are %v; want %v", p.Run, seen, allowed)
	}
	// The check above does not see other kinds of rules.
	for _, r := range p.managed("aws_security_group", "aws_default_security_group") {
		for _, kind := range []string{"ingress", "egress"} {
			if rules, _ := r.Change.After[kind].([]any); len(rules) > 0 {
				t.Errorf("%s: %s has rules of its own; move them to modules/firewall", p.Run, r.Address)
			}
		}
	}
	for _, r := range p.managed("aws_security_group_rule", "aws_network_acl_rule") {
		t.Errorf("%s: %s is a rule outside modules/firewall", p.Run, r.Address)
	}
}

// checkNodes finds nodes whose metadata apps could read, and disks that are not encrypted.
func (p plan) checkNodes(t *testing.T) {
	t.Helper()
	templates := p.managed("aws_launch_template")
	if len(templates) == 0 {
		t.Errorf("%s: no launch template", p.Run)
	}
	for _, r := range templates {
		m := block(r.Change.After, "metadata_options")
		if m["http_tokens"] != "required" || fmt.Sprint(m["http_put_response_hop_limit"]) != "1" {
			t.Errorf("%s: %s gives metadata away: %v", p.Run, r.Address, m)
		}
		disks, _ := r.Change.After["block_device_mappings"].([]any)
		if len(disks) == 0 {
			t.Errorf("%s: %s leaves its disk to the image", p.Run, r.Address)
		}
		for _, d := range disks {
			if ebs := block(d.(map[string]any), "ebs"); ebs["encrypted"] != "true" || ebs["delete_on_termination"] != "true" {
				t.Errorf("%s: %s has a disk that is not encrypted, or stays: %v", p.Run, r.Address, ebs)
			}
		}
	}
	for _, r := range p.managed("aws_instance", "aws_launch_configuration", "aws_spot_instance_request", "aws_spot_fleet_request") {
		t.Errorf("%s: %s is a node without a launch template of ours", p.Run, r.Address)
	}
}

// checkGroups finds groups that count a node before it is ready: the hook must be there
// before the first node, which only the group's own block does, and in groups that were made
// before, which only the resource does.
func (p plan) checkGroups(t *testing.T) {
	t.Helper()
	groups := p.managed("aws_autoscaling_group")
	if len(groups) == 0 {
		t.Errorf("%s: no auto scaling group", p.Run)
	}
	launches := func(hook map[string]any) bool {
		return hook["name"] == "ready" && hook["lifecycle_transition"] == "autoscaling:EC2_INSTANCE_LAUNCHING" && hook["default_result"] == "ABANDON" &&
			fmt.Sprint(hook["heartbeat_timeout"]) == "2700"
	}
	for _, r := range groups {
		stream := strings.Contains(r.text("name"), "-stream-")
		if protected := r.Change.After["protect_from_scale_in"] == true; protected != stream {
			t.Errorf("%s: %s protects its nodes: %t; want %t: the group itself must end no node with people", p.Run, r.Address, protected, stream)
		}
		if hook := block(r.Change.After, "initial_lifecycle_hook"); !launches(hook) {
			t.Errorf("%s: %s begins with the launch hook %v", p.Run, r.Address, hook)
		}
		if !slices.ContainsFunc(p.managed("aws_autoscaling_lifecycle_hook"), func(hook resource) bool {
			return hook.Module == r.Module && launches(hook.Change.After)
		}) {
			t.Errorf("%s: %s has no resource for its launch hook", p.Run, r.Address)
		}
	}
}

// checkBuckets finds buckets without the settings that every bucket has.
func (p plan) checkBuckets(t *testing.T) {
	t.Helper()
	for _, bucket := range p.managed("aws_s3_bucket") {
		// One run has force_destroy = true.
		asked := p.Run == "one_site_alone" && !strings.HasSuffix(bucket.Address, `["backups"]`)
		if bucket.Change.After["force_destroy"] != asked {
			t.Errorf("%s: force_destroy of %s is %v; want %t", p.Run, bucket.Address, bucket.Change.After["force_destroy"], asked)
		}
		key := strings.TrimPrefix(bucket.Address, bucket.Module+".aws_s3_bucket.")
		for _, part := range []string{
			"versioning", "server_side_encryption_configuration", "public_access_block", "ownership_controls", "policy", "lifecycle_configuration",
		} {
			address := bucket.Module + ".aws_s3_bucket_" + part + "." + key
			if !slices.ContainsFunc(p.Changes, func(r resource) bool { return r.Address == address }) {
				t.Errorf("%s: %s has no %s", p.Run, bucket.Address, part)
			}
		}
	}
	for _, r := range p.managed("aws_s3_bucket_public_access_block") {
		for _, what := range []string{"block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"} {
			if r.Change.After[what] != true {
				t.Errorf("%s: %s: %s is not set", p.Run, r.Address, what)
			}
		}
	}
}

// checkState finds resources that would put a secret into the state.
func (p plan) checkState(t *testing.T) {
	t.Helper()
	for _, r := range p.managed() {
		switch {
		case r.Type == "aws_secretsmanager_secret_version", r.Type == "aws_ssm_parameter", r.Type == "aws_iam_access_key",
			strings.HasPrefix(r.Type, "random_"), strings.HasPrefix(r.Type, "tls_"):
			t.Errorf("%s: %s keeps a secret in the state", p.Run, r.Address)
		}
	}
}

// checkRemoval finds changes of other sites when a site is removed.
func (p plan) checkRemoval(t *testing.T, site string) {
	t.Helper()
	gone := 0
	for _, r := range p.Changes {
		actions := strings.Join(r.Change.Actions, ",")
		its := strings.Contains(r.Address, `["`+site+`"]`) ||
			slices.Contains(strings.Split(between(r.Address, `module.peering["`, `"]`), "--"), site)
		switch {
		case actions == "no-op" && !its, r.Mode == "data":
		case actions == "delete" && its:
			gone++
		case actions == "update" && strings.HasPrefix(r.Address, "module.replication[0].") && r.Type != "aws_cloudwatch_metric_alarm":
			// The primary bucket has one configuration for all destinations.
		default:
			t.Errorf("%s: the removal of %s does %s to %s", p.Run, site, actions, r.Address)
		}
	}
	if gone < 150 {
		t.Errorf("%s: the removal of %s deletes only %d resources", p.Run, site, gone)
	}
}
