package day2

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/secrets"
)

// TestDay2 runs docs/DEPLOY.md and docs/RECOVER.md on one site, from the step Access on: every block with the mark
// "run", exactly as it is written.
func TestDay2(t *testing.T) {
	s := newSite(t)
	defer s.end()
	for _, part := range []func(){s.access, s.publish, s.versions, s.ticketKey, s.gossip, s.drain, s.lost} {
		part()
		t.Logf("%5.1f s", time.Since(s.began).Seconds())
	}
	for _, b := range s.blocks {
		if b.Mark == "run" && !s.ran[b.Name] {
			t.Errorf("the documents say that %q is run, but it was not", b.Name)
		}
	}
}

func (s *site) access() {
	said := s.shell(s.text("tokens") + `echo "$NOMAD_TOKEN $CONSUL_HTTP_TOKEN"`)
	tokens := strings.Fields(said)
	if len(tokens) != 2 {
		s.t.Fatalf("tokens: %q", said)
	}
	s.env["NOMAD_TOKEN"], s.env["CONSUL_HTTP_TOKEN"] = tokens[0], tokens[1]
	s.until("all nodes are ready", func() error {
		nodes := s.shell("nomad node status -json | jq -c '[.[] | select(.Status == \"ready\") | .NodePool] | sort'")
		if nodes != `["edge","server","server","server","stream-cpu"]`+"\n" {
			return fmt.Errorf("ready: %s", nodes)
		}
		return nil
	})
	said = s.step("look", nil)
	for _, want := range []string{"server-1." + siteName, "stream-5", "nomad/jobs/router"} {
		if !strings.Contains(said, want) {
			s.t.Errorf("look does not show %s:\n%s", want, said)
		}
	}
}

func (s *site) publish() {
	if said := s.shell(s.text("sites") + `echo "$sites"`); said != siteName+"\n" {
		s.t.Errorf("sites: %q", said)
	}
	s.step("jobs", nil)
	s.step("publish", nil)
	s.idle(0)
	s.until("the site serves", func() error {
		out, err := s.command(nil, s.text("check")).CombinedOutput()
		if err != nil || !strings.Contains(string(out), `"idle": 1`) || !strings.HasSuffix(string(out), "200\n") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	s.play().leave()
	// An app that an earlier release had in the namespace default.
	s.shell(`sed '/namespace *= "apps"/d' jobs/testapp.nomad.hcl >earlier.nomad.hcl && nomad job run -var warm=0 earlier.nomad.hcl`)
	s.step("apps of an earlier release", nil)
	if jobs := s.shell("nomad operator api '/v1/jobs?namespace=*' | jq -r '.[] | select(.ParameterizedJob) | .Namespace + \" \" + .ID'"); jobs != "apps testapp\n" {
		s.t.Errorf("apps: %s", jobs)
	}
	s.idle(0)
	s.play().leave()
}

// versions: a person plays while a new version is published and taken back.
func (s *site) versions() {
	s.idle(0)
	p := s.play()
	s.shell(`sed -i 's/title *= "Test app"/title = "New"/' jobs/testapp.nomad.hcl`)
	if said := s.step("publish again", nil); !strings.Contains(said, "New") {
		s.t.Errorf("neither plan nor history shows the change:\n%s", said)
	}
	// The person's seat still has the old version, and the free seat the new one.
	s.until("a free seat of version 1 beside the person's", func() error {
		seats, err := s.seats()
		if err != nil {
			return err
		}
		var have []string
		for _, seat := range seats {
			have = append(have, fmt.Sprintf("%s %t", seat.Job[strings.Index(seat.Job, "-v")+1:][:2], seat.ID == p.seat && seat.State.Busy() || seat.ID != p.seat && seat.State.Free()))
		}
		if slices.Sort(have); !slices.Equal(have, []string{"v0 true", "v1 true"}) {
			return fmt.Errorf("seats: %+v", seats)
		}
		return nil
	})
	p.leave()
	s.idle(1)
	s.step("take back", nil)
	s.idle(2)
	if title := s.shell("nomad job inspect -namespace=apps testapp | jq -r .Job.Meta.title"); title != "Test app\n" {
		s.t.Errorf("after the revert the title is %q", title)
	}
	s.play().leave()
}

// ticketKey: people play at every step of the rotation.
func (s *site) ticketKey() {
	play := func() { s.t.Helper(); s.idle(2); s.play().leave() }
	before := s.shell("nomad var get -item=ticket_key nomad/jobs/router")
	told := func() {
		s.t.Helper()
		s.step("ticket key, told", nil)
		s.step("ticket key, in files", nil)
		if err := copyFile(filepath.Join(s.stream.Secrets, "ticket-keys.pem"), filepath.Join(s.keys, siteName, "stream", "ticket-keys.pem")); err != nil {
			s.t.Fatal(err)
		}
		// Nomad renders the variables into the tasks' files some time later.
		for _, job := range []string{"router", "brain"} {
			s.until(job+" has the public keys", func() error {
				files, err := filepath.Glob(filepath.Join(s.edge.Values.Paths.NomadData, "alloc/*/"+job+"/secrets/ticket-keys.pem"))
				if err != nil || len(files) != 1 {
					return fmt.Errorf("%q, %v", files, err)
				}
				text, err := os.ReadFile(files[0])
				if err == nil && string(text) != s.read("keys/ticket-keys.pem") {
					err = fmt.Errorf("the keys are still the old ones")
				}
				return err
			})
		}
		play()
	}
	s.step("ticket key, made", nil)
	if n := strings.Count(s.read("keys/ticket-keys.pem"), "BEGIN"); n != 2 {
		s.t.Fatalf("ticket-keys.pem has %d keys", n)
	}
	play()
	told()
	s.inAWS("ticket key, in AWS", func(dir string) {
		for to, want := range map[string]string{"tickets/ticket-key.pem": "keys/ticket-key.pem", siteName + "/stream/ticket-keys.pem": "keys/ticket-keys.pem"} {
			if text, err := os.ReadFile(filepath.Join(dir, to)); err != nil || string(text) != s.read(want) {
				s.t.Errorf("%s: %q, %v", to, text, err)
			}
		}
	})
	started := s.routerStarted()
	s.step("ticket key, signs", nil)
	s.until("the router has started again", func() error {
		if now := s.routerStarted(); now == started {
			return fmt.Errorf("the router runs since %s", now)
		}
		return nil
	})
	play()
	s.step("ticket key, forgotten", nil)
	told()
	if after := s.shell("nomad var get -item=ticket_key nomad/jobs/router"); after == before || after != s.read("keys/ticket-key.pem") {
		s.t.Error("the router's key is not the new one")
	}
}

func (s *site) routerStarted() string {
	s.t.Helper()
	return s.shell(`nomad operator api /v1/job/router/allocations | jq -r '.[] | select(.ClientStatus == "running") | .TaskStates.router | select(.State == "running") | .StartedAt'`)
}

// inAWS runs a block with a program aws that keeps secrets in files. look checks the folders
// that servers would make from the secret.
func (s *site) inAWS(name string, look func(dir string)) {
	s.t.Helper()
	dir := s.t.TempDir()
	const aws = `#!/usr/bin/env bash
set -eu
[ "$1 $3 $4 $5 $6" = "secretsmanager --region site-a --secret-id nearcast/servers" ]
case $2 in
  get-secret-value) cat "${0%/*}/secret" ;;
  put-secret-value) cp "${8#file://}" "${0%/*}/secret" ;;
  *) exit 1 ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "aws"), []byte(aws), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte(s.read("cluster.json")), 0o600); err != nil {
		s.t.Fatal(err)
	}
	out, err := s.command(nil, "PATH="+dir+":$PATH\n"+s.text(name)).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
	packed, err := os.ReadFile(filepath.Join(dir, "secret"))
	if err != nil {
		s.t.Fatal(err)
	}
	all := filepath.Join(dir, "all")
	if err := secrets.Unpack(all, string(packed)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := secrets.Make(secrets.Config{Dir: all, Sites: []string{siteName}}); err != nil {
		s.t.Fatal(err)
	}
	look(all)
}

// gossip rotates both keys while seats, router and brain run.
func (s *site) gossip() {
	s.idle(2)
	p := s.play()
	old := s.servers[0].Secret(provision.ConsulGossipFile)
	s.step("gossip, new", nil)
	s.inAWS("gossip, in AWS", func(dir string) {
		for _, name := range []string{provision.ConsulGossipFile, provision.NomadGossipFile} {
			if text, err := os.ReadFile(filepath.Join(dir, siteName, "server", name)); err != nil || string(text) != s.read(name) {
				s.t.Errorf("%s: %q, %v", name, text, err)
			}
		}
	})
	s.step("gossip, in files", nil)
	for _, h := range append(slices.Clone(s.servers), s.edge, s.stream) {
		if err := copyFiles(h.Secrets, filepath.Join(s.keys, siteName, h.Values.Role.String())); err != nil {
			s.t.Fatal(err)
		}
		if changed := h.Configure(); len(changed) == 0 {
			s.t.Errorf("the new keys do not change the configuration of %s", h.Values.Node)
		}
	}
	s.step("gossip, old", nil)
	listed := s.shell("consul keyring -list; nomad operator gossip keyring list")
	if strings.Contains(listed, old) || !strings.Contains(listed, s.servers[0].Secret(provision.ConsulGossipFile)) || !strings.Contains(listed, s.servers[0].Secret(provision.NomadGossipFile)) {
		s.t.Errorf("keys: %s", listed)
	}
	// A node that restarts uses the new key.
	s.servers[2].Kill()
	s.servers[2].Restart()
	s.until("all are alive", func() error {
		if members := s.shell("consul members; nomad server members"); strings.Count(members, " alive ") != 8 {
			return fmt.Errorf("%s", members)
		}
		return nil
	})
	p.streams("the rotation")
	p.leave()
	s.idle(2)
	s.playSoon().leave()
}

// drain: a person has a seat of the node, and can finish.
func (s *site) drain() {
	s.idle(2)
	p := s.play()
	s.until("another seat is free", func() error {
		seats, err := s.seats()
		if err == nil && (len(seats) != 2 || !slices.ContainsFunc(seats, func(seat wire.Seat) bool { return seat.State.Free() })) {
			err = fmt.Errorf("seats: %+v", seats)
		}
		return err
	})
	done := make(chan error, 1)
	cmd := s.command(s.stream, s.text("drain"))
	var said testkit.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { done <- cmd.Wait() }()
	s.until("only the person's seat is left", func() error {
		seats, err := s.seats()
		if err == nil && (len(seats) != 1 || seats[0].ID != p.seat || !seats[0].State.Busy()) {
			err = fmt.Errorf("seats: %+v; the drain says: %s", seats, said.String())
		}
		return err
	})
	select {
	case err := <-done:
		s.t.Fatalf("the drain ended before the person left: %v\n%s", err, said.String())
	default:
	}
	p.leave()
	select {
	case err := <-done:
		if err != nil {
			s.t.Fatalf("drain: %v\n%s", err, said.String())
		}
	case <-s.ctx.Done():
		s.t.Fatal("the drain does not end")
	}
	s.step("work again", nil, "node="+s.stream.Values.Node)
	s.idle(2)
}

// lost: two servers are lost, and then all three.
func (s *site) lost() {
	s.shell("consul kv put test/mark before")
	consul := strings.TrimSpace(s.shell("consul acl token create -format=json -policy-name=nearcast-seat | jq -r .SecretID"))
	nomad := strings.TrimSpace(s.shell("nomad acl token create -policy=publisher -json | jq -r .SecretID"))
	known := func() {
		s.t.Helper()
		s.until("all is known again", func() error {
			out, err := s.command(nil, `[ "$(consul kv get test/mark)" = before ]
				CONSUL_HTTP_TOKEN=$consul consul acl token read -self >/dev/null
				NOMAD_TOKEN=$nomad nomad job inspect -namespace=apps testapp >/dev/null
				[ "$(nomad var get -item=ticket_key nomad/jobs/router)" = "$(cat keys/ticket-key.pem)" ]
				nomad node pool info stream-cpu >/dev/null`, "consul="+consul, "nomad="+nomad).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
	voters := func() {
		s.t.Helper()
		s.until("three voters of each", func() error {
			out, err := s.command(nil, s.text("voters")).CombinedOutput()
			if err != nil || strings.Count(string(out), "true") != 6 || strings.Count(string(out), "leader") != 2 {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
	known()

	s.idle(2)
	p := s.play()
	for _, h := range s.servers[1:] {
		h.Kill()
		h.Wipe()
	}
	last := s.servers[0]
	last.Kill()
	s.step("alone", last, "address="+last.Address)
	last.Restart()
	for _, h := range s.servers[1:] {
		h.Restart()
	}
	voters()
	known()
	p.streams("the loss of two servers")
	p.leave()
	s.idle(2)
	s.playSoon().leave()
	s.t.Logf("%5.1f s  two servers were lost", time.Since(s.began).Seconds())

	s.idle(2)
	s.step("backup", nil)
	for _, h := range s.servers {
		h.Kill()
		h.Wipe()
	}
	for _, h := range s.servers {
		h.Restart()
	}
	last.ACL()
	s.step("restore", nil)
	voters()
	known()
	s.idle(2)
	s.playSoon().leave()
}

func copyFile(to, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}

func copyFiles(to, from string) error {
	files, err := os.ReadDir(from)
	for _, f := range files {
		if err == nil {
			err = copyFile(filepath.Join(to, f.Name()), filepath.Join(from, f.Name()))
		}
	}
	return err
}
