package autoscaler_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/autoscaler"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// site stands for Consul, Nomad without nodes, EC2 Auto Scaling with a group, and a brain.
type site struct {
	mu       sync.Mutex
	keys     map[string]string // of who has registered, by id; the value is the service
	brain    *identity.Identity
	internal string
	demand   wire.Demand
	asked    int          // the brain
	spares   []wire.Spare // what the brain was told
	growths  []wire.Growth
	desired  int
	ended    []string // instances that the target has ended

	drains chan struct{} // of the node n1: closed when its person leaves; nil before it drains
}

// Peer implements identity.Peers.
func (s *site) Peer(_ context.Context, key string) (identity.Peer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if service := s.keys[key]; service != "" {
		return identity.Peer{Service: service}, nil
	}
	return identity.Peer{}, identity.ErrStranger
}

func (s *site) serveConsul(rw http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type object = map[string]any
	switch r.URL.Path {
	case "/v1/health/service/" + wire.BrainService:
		host, port, _ := net.SplitHostPort(s.internal)
		number, _ := strconv.Atoi(port)
		json.NewEncoder(rw).Encode([]object{{"Node": object{"Node": "n", "Address": host}, "Checks": []object{{"Status": "passing"}},
			"Service": object{"Address": host, "Port": number, "Meta": object{"instance": "b1", "internal": s.internal, "key": s.brain.Key()}}}})
	case "/v1/agent/service/register":
		var service struct {
			Name string
			Port int
			Meta map[string]string
		}
		json.NewDecoder(r.Body).Decode(&service)
		s.keys[service.Meta["key"]] = service.Name
	case "/v1/health/service/" + wire.AutoscalerService:
		rw.Write([]byte("[]"))
	}
}

const member = "<member><InstanceId>%s</InstanceId><LifecycleState>%s</LifecycleState><HealthStatus>Healthy</HealthStatus><ProtectedFromScaleIn>true</ProtectedFromScaleIn></member>"

// serveNomad is Nomad with one node, which is empty when it is looked at, and has a person when it drains.
func (s *site) serveNomad(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("X-Nomad-Index", "7")
	rw.Header().Set("X-Nomad-LastContact", "0")
	type object = map[string]any
	s.mu.Lock()
	drains, ended := s.drains, len(s.ended) > 0
	s.mu.Unlock()
	if wait := r.URL.Query().Get("index"); drains != nil && wait != "" && wait != "0" {
		select { // as Nomad's blocking queries
		case <-drains:
		case <-r.Context().Done():
		}
	}
	n := object{"ID": "n1", "Name": "n1", "Datacenter": "d", "NodeClass": "stream-cpu", "NodePool": "default", "Status": "ready", "SchedulingEligibility": "eligible",
		"Attributes": object{"unique.platform.aws.instance-id": "i-1"}}
	left := true
	if drains != nil {
		n["SchedulingEligibility"], n["LastDrain"] = "ineligible", object{"StartedAt": time.Unix(1_800_000_000, 0), "Status": "draining", "Meta": object{"drained_by": "nomad-autoscaler"}}
		select {
		case <-drains:
		default:
			left, n["Drain"], n["DrainStrategy"] = false, true, object{"Deadline": time.Hour}
		}
	}
	switch {
	case r.URL.Path == "/v1/nodes" && !ended:
		json.NewEncoder(rw).Encode([]object{n})
	case r.URL.Path == "/v1/node/n1":
		json.NewEncoder(rw).Encode(n)
	case r.URL.Path == "/v1/node/n1/drain":
		s.mu.Lock()
		if s.drains == nil {
			s.drains = make(chan struct{})
		}
		s.mu.Unlock()
		json.NewEncoder(rw).Encode(object{"NodeModifyIndex": 7, "Index": 7})
	case r.URL.Path == "/v1/node/n1/allocations" && !left:
		json.NewEncoder(rw).Encode([]object{{"ID": "a1", "ClientStatus": "running", "DesiredStatus": "run", "Job": object{"Type": "batch"}}})
	default:
		rw.Write([]byte("[]"))
	}
}

func (s *site) serveAWS(rw http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	s.mu.Lock()
	defer s.mu.Unlock()
	action, result := r.PostForm.Get("Action"), ""
	switch action {
	case "DescribeAutoScalingGroups":
		result = fmt.Sprintf("<AutoScalingGroups><member><AutoScalingGroupName>a-group</AutoScalingGroupName><DesiredCapacity>%d</DesiredCapacity><Instances>%s</Instances></member></AutoScalingGroups>",
			s.desired, strings.Repeat(fmt.Sprintf(member, "i-1", "InService"), s.desired)+fmt.Sprintf(member, "i-2", "Terminating:Wait"))
	case "DescribeScalingActivities":
		// A node that ends waits for its people: that must not keep others from being added.
		result = "<Activities><member><Progress>50</Progress></member></Activities>"
		if asked := r.PostForm.Get("ActivityIds.member.1"); asked != "" {
			result = "<Activities><member><ActivityId>" + asked + "</ActivityId><Progress>100</Progress></member></Activities>"
		}
	case "UpdateAutoScalingGroup":
		s.desired, _ = strconv.Atoi(r.PostForm.Get("DesiredCapacity"))
	case "TerminateInstanceInAutoScalingGroup":
		s.ended = append(s.ended, r.PostForm.Get("InstanceId"))
		s.desired--
		result = "<Activity><ActivityId>a-1</ActivityId><Progress>100</Progress></Activity>"
	}
	rw.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(rw, `<%[1]sResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, result)
}

func (s *site) is(busy, queued int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.demand = wire.Demand{Site: "s", Brain: "b1", Known: true, Apps: []wire.AppDemand{{App: "game", Pool: "stream-cpu", Busy: busy, Queued: queued}}}
}

func (s *site) groupHas() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.desired
}

// The real nomad-autoscaler runs the real plugin, with the policy of the job: from a group
// without nodes, while another node ends, over TLS both ways.
func TestUnderNomadAutoscaler(t *testing.T) {
	agent, err := testkit.FindTool("nomad-autoscaler")
	if err != nil {
		t.Skipf("%v; bin/nearcast dev tools nomad-autoscaler builds it, in 2 min", err)
	}
	dir := t.TempDir()
	testkit.Must(t, testkit.Build(t.Context(), "plugins/"+autoscaler.Name, filepath.Join(dir, "plugins", autoscaler.Name)))
	s := &site{keys: map[string]string{}, brain: testkit.Identity(t)}
	s.is(0, 0)
	brain := httptest.NewUnstartedServer(identity.Only(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Method == http.MethodPost && r.URL.Path == wire.GrowthPath {
			var growth wire.Growth
			json.NewDecoder(r.Body).Decode(&growth)
			s.growths = append(s.growths, growth)
			rw.WriteHeader(http.StatusNoContent)
			return
		}
		if r.Method == http.MethodPost && r.URL.Path == wire.SparePath {
			var spare wire.Spare
			json.NewDecoder(r.Body).Decode(&spare)
			s.spares = append(s.spares, spare)
			rw.WriteHeader(http.StatusNoContent)
			return
		}
		s.asked++
		json.NewEncoder(rw).Encode(s.demand)
	}), s, wire.AutoscalerService))
	brain.Listener = tls.NewListener(brain.Listener, s.brain.Open())
	brain.Start()
	defer brain.Close()
	s.internal = brain.Listener.Addr().String()
	consul, aws := httptest.NewServer(http.HandlerFunc(s.serveConsul)), httptest.NewServer(http.HandlerFunc(s.serveAWS))
	defer consul.Close()
	defer aws.Close()
	nomad := httptest.NewServer(http.HandlerFunc(s.serveNomad))
	defer nomad.Close()

	_, port, _ := net.SplitHostPort(testkit.Address(t))
	write := func(name, text string) {
		testkit.Must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	testkit.Must(t, os.Mkdir(filepath.Join(dir, "policies"), 0o700))
	write("agent.hcl", fmt.Sprintf(`
plugin_dir = %[1]q
http { bind_port = %[2]s }
nomad { address = %[3]q }
policy_eval {
  ack_timeout = "2s"
  workers = {
    cluster    = 50
    horizontal = 1
  }
}
policy {
  dir = %[4]q
  source "nomad" { enabled = false }
}
apm "seats" {
  driver = "nomad-autoscaler-seats"
  args   = ["apm"]
  config = { consul = %[5]q }
}
strategy "seats" {
  driver = "nomad-autoscaler-seats"
  args   = ["strategy"]
  config = { consul = %[5]q }
}
target "aws-asg" {
  driver = "aws-asg"
  config = {
    aws_region     = "s"
    retry_attempts = "2"
  }
}
`, filepath.Join(dir, "plugins"), port, nomad.URL, filepath.Join(dir, "policies"), strings.TrimPrefix(consul.URL, "http://")))
	write("policies/pool.hcl", `
scaling "stream-cpu" {
  enabled = true
  type    = "cluster"
  min     = 0
  max     = 9
  policy {
    cooldown            = "100ms"
    evaluation_interval = "300ms"
    on_check_error      = "fail"
    check "people" {
      source = "seats"
      query  = "stream-cpu,all"
      strategy "seats" {
        seats_per_node = "4"
        node_class     = "stream-cpu"
        hold           = "1s"
        schedule       = ""
      }
    }
    target "aws-asg" {
      aws_asg_name             = "a-group"
      node_class               = "stream-cpu"
      node_selector_strategy   = "empty_ignore_system"
      node_filter_ignore_init  = "true"
      node_filter_ignore_drain = "true"
      ignore_asg_events        = "true"
    }
  }
}
`)
	var log testkit.Buffer
	cmd := exec.Command(agent, "agent", "-log-level=debug", "-config="+filepath.Join(dir, "agent.hcl"))
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Env = append(testkit.Environ(), "AWS_ENDPOINT_URL="+aws.URL, "AWS_ACCESS_KEY_ID=none", "AWS_SECRET_ACCESS_KEY=none", "AWS_EC2_METADATA_DISABLED=true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	testkit.Must(t, cmd.Start())
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}()
	until := func(what string, ok func() bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		testkit.Retry(ctx, t, what, func() error {
			if !ok() {
				return fmt.Errorf("the group has %d nodes; the log: %s", s.groupHas(), log.String())
			}
			return nil
		})
	}
	until("the brain is asked", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.asked > 2
	})
	if got := s.groupHas(); got != 0 {
		t.Errorf("%d nodes for nobody", got)
	}
	until("the brain is told that nodes may come", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, g := range s.growths {
			if slices.Equal(g.Pools, []string{"stream-cpu", "all"}) && g.Wait == (16*time.Minute).Milliseconds() && g.Ready == (4*time.Minute).Milliseconds() {
				return true
			}
		}
		return false
	})
	s.is(0, 5)
	until("there are nodes for the first people", func() bool { return s.groupHas() >= 2 })
	s.is(5, 8)
	until("there are nodes for more", func() bool { return s.groupHas() >= 4 })
	if !strings.Contains(log.String(), "nodes of 4 seats: 13 people now") {
		t.Errorf("the log gives no reason: %s", log.String())
	}
	// The node that ends is in the list of the group, so the target never sees as many as it asked for.
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "[ERROR]") && !strings.Contains(line, "failed to confirm scale out") {
			t.Errorf("an error: %s", line)
		}
	}
	// Everybody leaves: the brain is told to empty nodes, of which only empty ones are removed.
	s.is(1, 0)
	until("the brain is told that fewer nodes are needed", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, spare := range s.spares {
			if slices.Equal(spare.Pools, []string{"stream-cpu", "all"}) && spare.Nodes > 0 && spare.Nodes < s.desired {
				return true
			}
		}
		return false
	})
	// A seat was placed on the node after it was chosen: it drains for as long as the person plays. More
	// people come meanwhile, and nodes for them, beside the one that drains.
	until("the empty node drains", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.drains != nil
	})
	before := s.groupHas()
	s.is(13, 13)
	until("nodes are added while another one drains", func() bool { return s.groupHas() >= 9 })
	if got := s.groupHas(); before >= 8 || got != 9 || !strings.Contains(log.String(), "nodes that drain beside these: 1") {
		t.Errorf("%d nodes, before %d; 8 for 26 people and the one that drains are 9; the log: %s", got, before, log.String())
	}
	s.mu.Lock()
	if len(s.ended) > 0 {
		t.Errorf("%v ended with a person on it", s.ended)
	}
	close(s.drains)
	s.mu.Unlock()
	until("the node ends when its person has left", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Equal(s.ended, []string{"i-1"}) && s.desired == 8
	})
}
