package platform_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// autoscaler is nomad-autoscaler, run by autoscaler.nomad.hcl, with a stand-in for AWS that
// has one group.
type autoscaler struct {
	missing error // why there is none
	binary  string
	aws     *groups
}

// groups stands for EC2 Auto Scaling with one group: it records requests, and grants each
// one at once.
type groups struct {
	url string

	mu      sync.Mutex
	asked   []url.Values
	regions map[string]bool // of the signatures
	desired int
}

func newAutoscaler(s *site) autoscaler {
	binary, err := testkit.FindTool("nomad-autoscaler")
	if err != nil {
		err = fmt.Errorf("%w; bin/nearcast dev tools nomad-autoscaler builds it, in 2 min", err)
	}
	aws := &groups{regions: map[string]bool{}}
	server := httptest.NewServer(aws)
	s.t.Cleanup(server.Close)
	aws.url = server.URL
	return autoscaler{missing: err, binary: binary, aws: aws}
}

func (a autoscaler) start(s *site) {
	s.t.Helper()
	if a.missing != nil {
		return
	}
	environment, _ := json.Marshal(map[string]string{
		"AWS_ENDPOINT_URL": a.aws.url, "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_EC2_METADATA_DISABLED": "true",
	})
	// The group has no node, and the site's own is not of it. A node has one seat.
	s.nomad("job", "run", "-detach", "-var=driver=raw_exec", "-var=node_pool=default", "-var=binary="+a.binary,
		"-var=plugins="+s.path("bin"), "-var=consul="+s.consulAddress, "-var=interval=1s", "-var=log_level=trace", "-var=environment="+string(environment),
		`-var=pools={"stream-cpu":{"group":"a-group","min":0,"max":99,"seats":1,"jobs":"default"}}`, "autoscaler.nomad.hcl")
}

// keepsWarm waits for the first node, which the warm seat of an app needs that nobody plays.
func (a autoscaler) keepsWarm(s *site, t *testing.T) {
	if a.missing != nil {
		t.Skip(a.missing)
	}
	s.address("autoscaler")
	s.until("one node is requested", func() error {
		a.aws.mu.Lock()
		defer a.aws.mu.Unlock()
		if a.aws.desired != 1 {
			return fmt.Errorf("%d wanted; asked: %v; it says %s", a.aws.desired, a.aws.asked, s.taskLog("autoscaler"))
		}
		return nil
	})
}

// scales looks at what was measured, decided and asked once somebody plays.
func (a autoscaler) scales(s *site, t *testing.T) {
	if a.missing != nil {
		t.Skip(a.missing)
	}
	s.until("more nodes are requested", func() error {
		a.aws.mu.Lock()
		defer a.aws.mu.Unlock()
		if a.aws.desired < 2 {
			return fmt.Errorf("%d wanted; asked: %v", a.aws.desired, a.aws.asked)
		}
		return nil
	})
	why := regexp.MustCompile(`scaling target: .*from=1 to=\d+ reason="\d+ nodes? of 1 seat: \d+ (person|people) now`)
	log := ""
	s.until("the log says why", func() error {
		if log = s.taskLog("autoscaler"); !why.MatchString(log) {
			return fmt.Errorf("the log: %s", log)
		}
		return nil
	})
	a.aws.mu.Lock()
	defer a.aws.mu.Unlock()
	if len(a.aws.regions) != 1 || !a.aws.regions["dc1"] {
		t.Errorf("regions asked: %v, want the site's", a.aws.regions)
	}
	// Terraform must allow these to the nodes on which it runs.
	for _, asked := range a.aws.asked {
		switch action := asked.Get("Action"); action {
		case "DescribeAutoScalingGroups", "DescribeScalingActivities", "DescribeInstanceRefreshes", "UpdateAutoScalingGroup":
		default:
			t.Errorf("AWS is asked for %s, which the job's comment does not name", action)
		}
	}
	for _, problem := range []string{"Permission denied", "[ERROR]", "nodes that drain count as if"} {
		if strings.Contains(log, problem) {
			t.Errorf("%q in its log:\n%s", problem, log)
		}
	}
}

// calls are some that it makes, and some that it must not.
func (a autoscaler) calls(s *site) []call {
	s.t.Helper()
	if a.missing != nil {
		return nil
	}
	var nodes []struct{ ID string }
	if err := s.nomadGet("/v1/nodes", &nodes); err != nil || len(nodes) != 1 {
		s.t.Fatalf("nodes: %v, %v", nodes, err)
	}
	nomad, token := "http://"+s.nomadAddress, s.environ(a.binary+"\x00", "NOMAD_TOKEN")
	consul, consulToken := "http://"+s.consulAddress, s.environ(a.binary+"\x00", "CONSUL_HTTP_TOKEN")
	return []call{
		{"autoscaler reads nodes", token, "GET", nomad + "/v1/nodes", "", 200},
		{"autoscaler drains a node (here, it ends a drain)", token, "PUT", nomad + "/v1/node/" + nodes[0].ID + "/drain", `{"DrainSpec":null,"MarkEligible":true}`, 200},
		{"autoscaler poses as a brain", consulToken, "PUT", consul + "/v1/agent/service/register", `{"Name":"nearcast-brain","ID":"intruder"}`, 403},
		{"autoscaler publishes an app", consulToken, "PUT", consul + "/v1/kv/nearcast/apps/fake", "{}", 403},
		{"autoscaler makes a session", consulToken, "PUT", consul + "/v1/session/create", "{}", 403},
		{"autoscaler reads a variable", token, "GET", nomad + "/v1/var/nomad/jobs/router", "", 403},
		{"autoscaler runs a job", token, "PUT", nomad + "/v1/jobs", intruder, 403},
		{"autoscaler dispatches a seat", token, "PUT", nomad + "/v1/job/app/dispatch", "{}", 403},
		{"autoscaler stops a job", token, "DELETE", nomad + "/v1/job/router", "", 403},
		{"autoscaler scales a job", token, "PUT", nomad + "/v1/job/router/scale", `{"Count":0,"Target":{"Group":"router"}}`, 403},
		{"autoscaler changes a pool", token, "PUT", nomad + "/v1/node/pool/mine", `{"Name":"mine"}`, 403},
		{"autoscaler changes how Nomad schedules", token, "PUT", nomad + "/v1/operator/scheduler/configuration", "{}", 403},
	}
}

// taskLog is what a job's only task has written.
func (s *site) taskLog(job string) string {
	s.t.Helper()
	files, _ := filepath.Glob(s.path("data/alloc/*/alloc/logs/" + job + ".std*.0"))
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

func (g *groups) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, r.PostForm)
	// AWS4-HMAC-SHA256 Credential=key/date/region/service/aws4_request, …
	if scope := strings.Split(r.Header.Get("Authorization"), "/"); len(scope) > 3 {
		g.regions[scope[2]] = true
	}
	action, result := r.PostForm.Get("Action"), ""
	switch action {
	case "DescribeAutoScalingGroups":
		if r.PostForm.Get("AutoScalingGroupNames.member.1") == "a-group" {
			result = fmt.Sprintf("<AutoScalingGroups><member><AutoScalingGroupName>a-group</AutoScalingGroupName>"+
				"<DesiredCapacity>%d</DesiredCapacity><Instances>%s</Instances></member></AutoScalingGroups>",
				g.desired, strings.Repeat("<member><InstanceId>i-1</InstanceId></member>", g.desired))
		}
	case "DescribeScalingActivities":
		result = "<Activities></Activities>"
	case "DescribeInstanceRefreshes":
		result = "<InstanceRefreshes></InstanceRefreshes>"
	case "UpdateAutoScalingGroup":
		g.desired, _ = strconv.Atoi(r.PostForm.Get("DesiredCapacity"))
	}
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<%[1]sResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, result)
}
