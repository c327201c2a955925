package cloud_test

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	cloudnomad "github.com/nearcast/nearcast/cloud/nomad"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/nodetest"
)

// TestPromoteWalk loses the primary one of two real sites, and makes the other one primary by the program
// itself, which is killed once. Then the lost site comes back and follows. A task runs all the time.
func TestPromoteWalk(t *testing.T) {
	w := newWalk(t, 8*time.Minute, "site-a", "site-b")
	at := func(n int) []string { return []string{nodetest.Network(n)} }
	a := w.start(provision.Values{Site: "site-a", Primary: "site-a", Servers: 1, Join: at(61), JoinWAN: at(62)}, 61)
	b := w.start(provision.Values{Site: "site-b", Primary: "site-a", Servers: 1, Join: at(62), JoinWAN: at(61)}, 62)
	edge := w.start(provision.Values{Site: "site-b", Primary: "site-a", Role: provision.Edge, Join: at(62)}, 63)
	a.ACL()
	w.stage("the first site is set up")
	b.ACL()
	w.stage("the second site is set up")
	task := w.task(b)
	first, err := task()
	testkit.Must(t, err)
	same := func(after string) {
		t.Helper()
		testkit.Retry(w.ctx, t, "after "+after+" the task runs", func() error {
			now, err := task()
			if err == nil && now != first {
				t.Fatalf("after %s the task is %q, was %q", after, now, first)
			}
			return err
		})
		w.stage(after)
	}
	same("a task began")
	early := newAccess(w, a)
	early.reaches(b)
	w.stage("the second site copies the first one")

	o := w.operator()
	router := "http://127.0.0.1:1"
	outputs := func(primary string) {
		site := func(name string) string {
			return fmt.Sprintf(`%q: {"primary": %t, "servers": 1, "edge_nodes": 2, "router_url": %q, "brain_url": "ws://127.0.0.1:1/v1/connect"}`, name, name == primary, router)
		}
		o.write("outputs.json", `{"sites": {"value": {`+site("site-a")+", "+site("site-b")+`}}}`)
	}
	outputs("site-a")
	o.args = []string{"--outputs", o.path("outputs.json"), "--no-aws", "--nomad", b.Address + ":4646", "--consul", b.Address + ":8500",
		"--nomad-token", b.Secret(provision.NomadManagementFile), "--consul-token", b.Secret(provision.ConsulManagementFile)}
	promote := []string{"promote", "site-b"}
	says := func(code int, want string, args ...string) {
		t.Helper()
		if out := o.run(code, append(promote, args...)...); !strings.Contains(out, want) {
			t.Errorf("promote site-b %s does not say %q:\n%s", strings.Join(args, " "), want, out)
		}
	}
	says(0, "2. The servers of site-b are replaced", "--dry-run")
	says(1, "the primary site site-a is not lost", "--dry-run", "--lost")
	router = standInRouter(t, "site-a", "site-b")
	outputs("site-a")
	w.link(o, b, a)
	router = "http://127.0.0.1:1"
	outputs("site-a")
	same("the link was cut")
	a.Kill()
	w.stage("the first site is lost")
	const lost = "the servers of site-b do not reach those of site-a: the link between the two is cut, or site-a is lost"
	testkit.Retry(w.ctx, t, "the doctor says that the first site is lost", func() error {
		if found := o.doctor(); !slices.Contains(found, "site-a: "+lost) {
			return fmt.Errorf("it says %q", found)
		}
		return nil
	})
	says(1, "the primary site site-a is not whole", "--dry-run")
	says(0, "2. The servers of site-b are replaced", "--dry-run", "--lost")
	says(1, "and run: nearcast cloud promote site-b --lost-site site-a", "--lost", "--yes")
	same("the plans")
	outputs("site-b")
	const set = "site-b: set NEARCAST_PRIMARY_SITE=site-b"
	if said, err := o.at(set, o.kill, "promote", "site-b", "--lost-site", "site-a", "--yes"); err == nil || strings.Contains(said, "is the primary site.") {
		t.Fatalf("the command was killed, and ends with %v:\n%s", err, said)
	}
	testkit.Retry(w.ctx, t, "Nomad of the second site fails to forward a policy to the lost one", func() error {
		err := w.nomad(b, "PUT", "/v1/acl/policy/walk", map[string]string{"Name": "walk", "Rules": `agent { policy = "deny" }`}, nil)
		if err == nil {
			t.Fatal("Nomad is the authority before its servers have the new configuration")
		}
		if nodetest.IsRefused(err, 500) && !strings.Contains(err.Error(), "No cluster leader") {
			return nil
		}
		return err
	})
	b.Follow("site-b")
	b.ACL()
	edge.Follow("site-b")
	says(0, "site-b is the primary site.", "--lost-site", "site-a", "--yes")
	same("the second site is the primary one")
	testkit.Retry(w.ctx, t, "what was written at the first site is good", func() error { return early.good(b) })
	if !w.owns(b, "site-b") {
		t.Error("Nomad of the new primary site is not the authority")
	}
	late := newAccess(w, b)

	// The lost site comes back as it was, and follows while the command waits.
	a.Restart()
	said, err := o.at("site-a: set NEARCAST_PRIMARY_SITE=site-b", func(*exec.Cmd) {
		if err := late.good(a); err == nil {
			t.Error("the site that was lost has what was written since")
		}
		a.Follow("site-b")
	}, "promote", "site-b", "--yes")
	for _, want := range []string{"site-b: its servers follow site-b already", "site-a: waits for the servers to follow site-b", "site-a: its servers follow site-b", "site-b is the primary site."} {
		if err != nil || !strings.Contains(said, want) {
			t.Errorf("after the site came back, promote ends with %v, and does not say %q:\n%s", err, want, said)
		}
	}
	late.reaches(a)
	a.ACL()
	testkit.Retry(w.ctx, t, "what was written at the first site before is good there", func() error { return early.good(a) })
	if w.owns(b, "site-a") {
		t.Error("Nomad of the site that came back is an authority, too")
	}
	again := newAccess(w, a) // which forwards it
	testkit.Retry(w.ctx, t, "what is written at the site that came back is the primary one's", func() error { return again.good(b) })
	same("the first site follows the second one")
}

// access is a token of Consul and one of Nomad that an operator made.
type access struct {
	*walk
	consul, nomad string
}

// newAccess makes them through a server; the primary site keeps them.
func newAccess(w *walk, at *nodetest.Node) access {
	w.t.Helper()
	made := access{w, uuid.NewString(), ""}
	testkit.Retry(w.ctx, w.t, "a token of Consul is made at "+at.Values.Site, func() error {
		err := at.Ask("PUT", nodetest.ConsulPort, "/v1/acl/token", at.Secret(provision.ConsulManagementFile),
			map[string]any{"SecretID": made.consul, "Policies": []any{map[string]string{"Name": "nearcast-seat"}}}, nil)
		if nodetest.IsRefused(err, 400) && strings.Contains(err.Error(), "already in use") {
			return nil // the answer to an earlier try was lost
		}
		return err
	})
	testkit.Retry(w.ctx, w.t, "a token of Nomad is made at "+at.Values.Site, func() error {
		var token struct{ SecretID string }
		err := at.Ask("PUT", nodetest.NomadPort, "/v1/acl/token", at.Secret(provision.NomadManagementFile),
			map[string]any{"Name": "walk", "Type": "client", "Policies": []string{"publisher"}, "Global": true}, &token)
		made.nomad = token.SecretID
		return err
	})
	return made
}

// good asks a site's own servers whether they know both.
func (a access) good(at *nodetest.Node) error {
	return errors.Join(at.Ask("GET", nodetest.ConsulPort, "/v1/acl/token/self", a.consul, nil, nil),
		at.Ask("GET", nodetest.NomadPort, "/v1/acl/token/self", a.nomad, nil, nil))
}

// reaches waits until a site has a copy.
func (a access) reaches(at *nodetest.Node) {
	a.t.Helper()
	testkit.Retry(a.ctx, a.t, at.Values.Site+" copies what was written at the primary site", func() error { return a.good(at) })
}

// owns asks Nomad, through a server, until it says whether a region is the authority. It has no answer while
// the authority is lost.
func (w *walk) owns(through *nodetest.Node, region string) (owns bool) {
	w.t.Helper()
	all, err := cloudnomad.Open(cloudnomad.Config{Address: through.Address + ":4646", Token: through.Secret(provision.NomadManagementFile)})
	testkit.Must(w.t, err)
	defer all.Close()
	testkit.Retry(w.ctx, w.t, "Nomad says whether "+region+" is the authority", func() error {
		owns, err = all.At(region).OwnsAccess(w.ctx)
		return err
	})
	return owns
}
