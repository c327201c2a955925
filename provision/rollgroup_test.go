package provision_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// groupOfServers stands for AWS as an operator's command asks it: the group of servers in Auto Scaling, whose
// template has a second version that no node has yet, and the bucket with the reasons of nodes. What launches
// and ends instances is the test.
type groupOfServers struct {
	URL     string
	members []string // of the first version

	t       *testing.T
	mu      sync.Mutex
	did     []string // what was told, but for questions
	last    time.Time
	changed chan struct{}
	version int
	status  string // of the latest replacement
	objects map[string]string
}

func newGroupOfServers(t *testing.T) *groupOfServers {
	g := &groupOfServers{t: t, version: 2, changed: make(chan struct{}), objects: map[string]string{}}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	g.URL = server.URL
	return g
}

func (g *groupOfServers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		g.t.Error(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	w.Header().Set("Content-Type", "text/xml")
	switch key, ofBucket := strings.CutPrefix(r.URL.Path, "/system/"); {
	case r.Method == http.MethodPut && ofBucket && r.Header.Get("Content-Encoding") == "":
		g.objects[key] = string(body)
	case r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2":
		fmt.Fprint(w, "<ListBucketResult><IsTruncated>false</IsTruncated>")
		for key, text := range g.objects {
			if strings.HasPrefix(key, r.URL.Query().Get("prefix")) {
				fmt.Fprintf(w, "<Contents><Key>%s</Key><LastModified>%s</LastModified><Size>%d</Size></Contents>", key, time.Now().UTC().Format(time.RFC3339), len(text))
			}
		}
		fmt.Fprint(w, "</ListBucketResult>")
	case r.Method == http.MethodGet && ofBucket:
		io.WriteString(w, g.objects[key])
	case r.Method == http.MethodPost && r.URL.Path == "/":
		r.Body = io.NopCloser(bytes.NewReader(body))
		g.answer(w, r.FormValue("Action"), r)
	default:
		g.t.Errorf("AWS is asked for %s %s", r.Method, r.URL)
		w.WriteHeader(http.StatusNotImplemented)
	}
}

// answer answers for Auto Scaling.
func (g *groupOfServers) answer(w io.Writer, action string, r *http.Request) {
	said := ""
	switch action {
	case "DescribeAutoScalingGroups":
		of := func(version int) string {
			return fmt.Sprintf("<LaunchTemplateId>lt-1</LaunchTemplateId><Version>%d</Version>", version)
		}
		for _, instance := range g.members {
			said += "<member><InstanceId>" + instance + "</InstanceId><LifecycleState>InService</LifecycleState><HealthStatus>Healthy</HealthStatus><LaunchTemplate>" + of(1) + "</LaunchTemplate></member>"
		}
		said = "<AutoScalingGroups><member><AutoScalingGroupName>servers</AutoScalingGroupName><DesiredCapacity>3</DesiredCapacity><Instances>" + said + "</Instances><MixedInstancesPolicy><LaunchTemplate><LaunchTemplateSpecification>" +
			of(g.version) + "</LaunchTemplateSpecification></LaunchTemplate></MixedInstancesPolicy></member></AutoScalingGroups>"
	case "DescribeInstanceRefreshes":
		if g.status != "" {
			said = fmt.Sprintf("<InstanceRefreshes><member><InstanceRefreshId>r-%d</InstanceRefreshId><Status>%s</Status><PercentageComplete>0</PercentageComplete></member></InstanceRefreshes>", g.count("StartInstanceRefresh"), g.status)
		}
	case "StartInstanceRefresh":
		// Nodes that match the template stay, and nothing is left to be replaced.
		if g.status = "InProgress"; g.version == 1 {
			g.status = "Successful"
		}
		g.tell(action)
		said = fmt.Sprintf("<InstanceRefreshId>r-%d</InstanceRefreshId>", g.count(action))
	case "CancelInstanceRefresh":
		g.status = "Cancelled"
		g.tell(action)
	case "UpdateAutoScalingGroup":
		if _, err := fmt.Sscan(r.FormValue("MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification.Version"), &g.version); err != nil {
			g.t.Errorf("the group is told %v: %v", r.Form, err)
		}
		g.tell(action)
	default:
		g.t.Errorf("Auto Scaling is asked for %q", action)
	}
	fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>", action, said)
}

func (g *groupOfServers) tell(action string) {
	g.did, g.last = append(g.did, action), time.Now()
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *groupOfServers) count(action string) (n int) {
	for _, did := range g.did {
		if did == action {
			n++
		}
	}
	return n
}

func (g *groupOfServers) object(key string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.objects[key]
}

// launchesAgain is how long after the end of a new node the stand-in takes the replacement as one that goes
// on: the group would launch another node.
const launchesAgain = 45 * time.Second

// waits waits until the group is told something, and returns when it was: by a command, which must not end
// before, or soon.
func (g *groupOfServers) waits(action string, by *operatorCommand) time.Time {
	g.t.Helper()
	var late <-chan time.Time
	var ended <-chan struct{}
	if by == nil {
		timer := time.NewTimer(launchesAgain)
		defer timer.Stop()
		late = timer.C
	} else {
		ended = by.done
	}
	for {
		g.mu.Lock()
		told, at, next := g.count(action) > 0, g.last, g.changed
		g.mu.Unlock()
		if told {
			return at
		}
		select {
		case <-next:
		case <-late:
			g.t.Fatalf("the group was not told %s within %s, and would launch another node", action, launchesAgain)
		case <-ended:
			g.t.Fatalf("the command ended with %v before %s:\n%s", by.end(), action, by.said())
		}
	}
}

// operatorCommand is a "nearcast cloud" that runs.
type operatorCommand struct {
	mu   sync.Mutex
	out  bytes.Buffer
	done chan struct{}
	err  error
}

// Write takes what it says.
func (c *operatorCommand) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *operatorCommand) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// end waits until it has ended.
func (c *operatorCommand) end() error {
	<-c.done
	return c.err
}

// command starts one, which ends at the latest with the test.
func (r *brokenRoll) command(args ...string) *operatorCommand {
	r.t.Helper()
	c := &operatorCommand{done: make(chan struct{})}
	cmd := exec.CommandContext(r.ctx, filepath.Join(r.release, "nearcast"), append(append([]string{"cloud"}, args...), r.args...)...)
	cmd.Env = append(testkit.Environ(), "AWS_ENDPOINT_URL="+r.group.URL, "AWS_ACCESS_KEY_ID=operator", "AWS_SECRET_ACCESS_KEY=secret", "AWS_EC2_METADATA_DISABLED=true")
	cmd.Stdout, cmd.Stderr = c, c
	testkit.Must(r.t, cmd.Start())
	go func() {
		c.err = cmd.Wait()
		close(c.done)
	}()
	r.t.Cleanup(func() { <-c.done })
	return c
}

// longestGap is the time within which a write has to succeed. No leader is lost; the machine may be slow.
const longestGap = 15 * time.Second

// writes writes to Consul and Nomad through the servers in turn, until the returned function looks at the
// longest time without a write that succeeded.
func (r *brokenRoll) writes(servers []*serverOfGroup) (end func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	r.t.Cleanup(cancel)
	var all sync.WaitGroup
	for _, to := range []struct {
		name, path, token string
		body              any
	}{
		{"Consul", ":8500/v1/kv/test/roll", r.consul, "x"},
		{"Nomad", ":4646/v1/var/test/roll", r.nomad, map[string]any{"Path": "test/roll", "Items": map[string]string{"x": "y"}}},
	} {
		body, err := json.Marshal(to.body)
		testkit.Must(r.t, err)
		all.Go(func() {
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			count, failed, longest, last := 0, error(nil), time.Duration(0), time.Now()
			for ctx.Err() == nil {
				server := servers[count%len(servers)]
				err := ask(ctx, http.MethodPut, "http://"+server.address+to.path, to.token, body, nil)
				if ctx.Err() != nil {
					break
				}
				longest = max(longest, time.Since(last))
				if count++; err == nil {
					last = time.Now()
				} else {
					failed = fmt.Errorf("through %s: %w", server.name, err)
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
			r.t.Logf("%s: %d writes, at most %.1f s between two that succeeded; the last one that failed: %v", to.name, count, longest.Seconds(), failed)
			if longest > longestGap || count == 0 {
				r.t.Errorf("%s: no write succeeded for %s", to.name, longest)
			}
		})
	}
	r.t.Cleanup(all.Wait)
	return func() { cancel(); all.Wait() }
}

// ask asks an agent.
func ask(ctx context.Context, method, url, token string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status + ": " + string(text))
	}
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// tokenOf is a token of the cluster's secret.
func tokenOf(t *testing.T, packed, name string) string {
	t.Helper()
	var files map[string]string
	testkit.Must(t, json.Unmarshal([]byte(packed), &files))
	if files[name] == "" {
		t.Fatalf("the cluster's secret has no %s", name)
	}
	return strings.TrimSpace(files[name])
}
