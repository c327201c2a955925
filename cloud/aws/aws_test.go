package aws

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/nearcast/nearcast/cloud"
)

// answers are those of a group that lacks a node, by action.
var answers = map[string]string{
	"DescribeAutoScalingGroups": `<AutoScalingGroups><member><AutoScalingGroupName>n-edge</AutoScalingGroupName><DesiredCapacity>3</DesiredCapacity><Instances>
		<member><LifecycleState>InService</LifecycleState><HealthStatus>Healthy</HealthStatus><LaunchTemplate><LaunchTemplateId>lt-1</LaunchTemplateId><Version>5</Version></LaunchTemplate></member>
		<member><InstanceId>i-2</InstanceId><LifecycleState>Pending:Wait</LifecycleState><HealthStatus>Healthy</HealthStatus><LaunchTemplate><LaunchTemplateId>lt-1</LaunchTemplateId><Version>6</Version></LaunchTemplate></member>
		<member><LifecycleState>InService</LifecycleState><HealthStatus>Unhealthy</HealthStatus><LaunchTemplate><LaunchTemplateId>lt-0</LaunchTemplateId><Version>9</Version></LaunchTemplate></member>
		<member><InstanceId>i-4</InstanceId><LifecycleState>Terminating:Wait</LifecycleState><LaunchTemplate><LaunchTemplateId>lt-1</LaunchTemplateId><Version>4</Version></LaunchTemplate></member></Instances>
		<MixedInstancesPolicy><InstancesDistribution><OnDemandBaseCapacity>2</OnDemandBaseCapacity><SpotAllocationStrategy>price-capacity-optimized</SpotAllocationStrategy></InstancesDistribution>
			<LaunchTemplate><LaunchTemplateSpecification><LaunchTemplateId>lt-1</LaunchTemplateId><LaunchTemplateName>n-edge</LaunchTemplateName><Version>6</Version></LaunchTemplateSpecification>
			<Overrides><member><InstanceType>t3.small</InstanceType></member><member><InstanceType>t3.medium</InstanceType></member></Overrides></LaunchTemplate></MixedInstancesPolicy></member></AutoScalingGroups>`,
	"UpdateAutoScalingGroup": ``,
	"DescribeScalingActivities": `<Activities><member><StatusCode>Failed</StatusCode><StatusMessage>no capacity</StatusMessage><StartTime>` + time.Now().UTC().Format(time.RFC3339) + `</StartTime></member>
		<member><StatusCode>Failed</StatusCode><StatusMessage>of yesterday</StatusMessage><StartTime>2020-01-01T00:00:00Z</StartTime></member><member><StatusCode>Successful</StatusCode></member></Activities>`,
	"StartInstanceRefresh":      `<InstanceRefreshId>r-1</InstanceRefreshId>`,
	"DescribeInstanceRefreshes": `<InstanceRefreshes><member><InstanceRefreshId>r-1</InstanceRefreshId><Status>InProgress</Status><StatusReason>waits</StatusReason><PercentageComplete>34</PercentageComplete></member></InstanceRefreshes>`,
	"CancelInstanceRefresh":     ``,
}

func newAccount(t *testing.T) (*Account, *[]url.Values) {
	t.Helper()
	var calls []url.Values
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		switch {
		case r.Method == http.MethodPost:
			if err := r.ParseForm(); err != nil {
				t.Error(err)
			}
			calls = append(calls, r.Form)
			action := r.Form.Get("Action")
			fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>", action, answers[action])
		case strings.HasPrefix(r.URL.Query().Get("prefix"), "backups/"):
			prefix := r.URL.Query().Get("prefix")
			if after := r.URL.Query().Get("start-after"); len(after) != len(prefix)+8 || !strings.HasPrefix(after, prefix) {
				t.Errorf("it lists %s from %q", prefix, after)
			}
			if prefix == "backups/consul-" {
				fmt.Fprint(w, "<ListBucketResult><Contents><Key>backups/consul-20260102T030405Z.snap</Key></Contents><Contents><Key>backups/consul-20260102T040405Z.snap</Key></Contents><Contents><Key>backups/consul-mine</Key></Contents></ListBucketResult>")
			} else {
				fmt.Fprint(w, "<ListBucketResult></ListBucketResult>")
			}
		case r.URL.Query().Get("list-type") == "2":
			fmt.Fprintf(w, `<ListBucketResult><IsTruncated>false</IsTruncated>
				<Contents><Key>nodes/n-edge/i-old.txt</Key><LastModified>2020-01-01T00:00:00Z</LastModified><Size>3</Size></Contents>
				<Contents><Key>nodes/n-edge/i-2.txt</Key><LastModified>%s</LastModified><Size>4</Size></Contents></ListBucketResult>`, time.Now().UTC().Format(time.RFC3339))
		case strings.HasSuffix(r.URL.Path, "/nodes/n-edge/i-2.txt"):
			fmt.Fprint(w, "not ready\n\nconsul: no route")
		default:
			t.Errorf("%s %s", r.Method, r.URL)
		}
	}))
	t.Cleanup(server.Close)
	return New(aws.Config{Region: "test-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")}), &calls
}

func TestGroup(t *testing.T) {
	a, _ := newAccount(t)
	g, err := a.Group(t.Context(), "n-edge")
	if err != nil || g.Wanted != 3 || g.InService != 1 || g.Starting != 1 || len(g.Troubles) != 1 || g.Troubles[0] != "no capacity" {
		t.Errorf("%+v, %v", g, err)
	}
	reasons, err := a.Reasons(t.Context(), "system", "n-edge", time.Now().Add(-time.Hour))
	if err != nil || len(reasons) != 1 || reasons[0].Instance != "i-2" || reasons[0].Text != "not ready consul: no route" {
		t.Errorf("%+v, %v", reasons, err)
	}
	if objects, err := a.Objects(t.Context(), "content", time.Now().Add(-time.Hour), 9); err != nil || len(objects) != 1 || objects["nodes/n-edge/i-old.txt"] != 3 {
		t.Errorf("%v, %v", objects, err)
	}
}

func TestRefresh(t *testing.T) {
	a, calls := newAccount(t)
	id, err := a.Refresh(t.Context(), "n-server", cloud.Preferences{First: 34, Pause: 10 * time.Minute, Alarms: []string{"n-servers"}})
	if err != nil || id != "r-1" || len(*calls) != 1 {
		t.Fatalf("%q, %v", id, err)
	}
	for name, want := range map[string]string{
		"AutoScalingGroupName": "n-server", "Preferences.MinHealthyPercentage": "100", "Preferences.MaxHealthyPercentage": "134", "Preferences.SkipMatching": "true",
		"Preferences.CheckpointDelay": "600", "Preferences.CheckpointPercentages.member.1": "34", "Preferences.AlarmSpecification.Alarms.member.1": "n-servers",
		"Preferences.ScaleInProtectedInstances": "Refresh",
	} {
		if got := (*calls)[0].Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	last, err := a.Last(t.Context(), "n-server")
	if want := (cloud.Refresh{ID: "r-1", Status: "InProgress", Reason: "waits", Percent: 34}); err != nil || last != want || !last.Going() {
		t.Errorf("%+v, %v", last, err)
	}
	if err := a.Cancel(t.Context(), "n-server"); err != nil {
		t.Error(err)
	}
}

// TestTemplate: another version of the template, and nothing else of the group changes.
func TestTemplate(t *testing.T) {
	a, calls := newAccount(t)
	template, err := a.Template(t.Context(), "n-edge")
	if err != nil || template.ID != "lt-1" || template.Version != 6 || !maps.Equal(template.Nodes, map[int]int{5: 1, 6: 1, 0: 1}) || template.Of["i-2"] != 6 || template.Of["i-4"] != 4 {
		t.Errorf("%+v, %v", template, err)
	}
	if err := a.UseTemplate(t.Context(), "n-edge", 5); err != nil {
		t.Fatal(err)
	}
	sent := map[string]string{}
	for name, values := range (*calls)[len(*calls)-1] {
		sent[name] = strings.Join(values, " ")
	}
	if want := map[string]string{
		"Action": "UpdateAutoScalingGroup", "Version": "2011-01-01", "AutoScalingGroupName": "n-edge",
		"MixedInstancesPolicy.InstancesDistribution.OnDemandBaseCapacity":                  "2",
		"MixedInstancesPolicy.InstancesDistribution.SpotAllocationStrategy":                "price-capacity-optimized",
		"MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification.LaunchTemplateId": "lt-1", // AWS refuses it beside a name
		"MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification.Version":          "5",
		"MixedInstancesPolicy.LaunchTemplate.Overrides.member.1.InstanceType":              "t3.small",
		"MixedInstancesPolicy.LaunchTemplate.Overrides.member.2.InstanceType":              "t3.medium",
	}; !maps.Equal(sent, want) {
		t.Errorf("it sends %v", sent)
	}
}

// TestBackups: the latest of each program, by its name, and none where there is none.
func TestBackups(t *testing.T) {
	account, _ := newAccount(t)
	latest, err := account.Backups(t.Context(), "system")
	if err != nil || len(latest) != 1 || latest["consul"].Format(time.RFC3339) != "2026-01-02T04:04:05Z" {
		t.Errorf("%v, %v", latest, err)
	}
}
