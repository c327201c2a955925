package console

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

func (r *rig) lines() (out []wire.ConsoleAction) {
	r.t.Helper()
	f, err := os.Open(r.audit)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var line wire.ConsoleAction
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			r.t.Fatalf("%s: %v", s.Text(), err)
		}
		out = append(out, line)
	}
	return out
}

// TestRoles tries every action in every role: as who may, it is done and written down twice, else it is
// refused and written down once.
func TestRoles(t *testing.T) {
	r := newRig(t)
	r.person(wire.RoleViewer).stream("").next() // so that the site and its node are known
	actions := []struct {
		act          wire.ConsoleAct
		method, path string
		body, did    string
		status       int
		from         wire.ConsoleRole
	}{
		{wire.ActEnd, "DELETE", "/console/api/sessions/" + first, "", "end " + first, 204, wire.RoleOperator},
		{wire.ActStill, "POST", "/console/api/sessions/" + first + "/still", "", "ROLE still " + first, 200, wire.RoleOperator},
		{wire.ActDrain, "POST", "/console/api/nodes/east/n1", `{"action":"node.drain","deadline_s":60}`, "ROLE node.drain east/n1", 204, wire.RoleOperator},
		{wire.ActKeep, "POST", "/console/api/nodes/east/n1", `{"action":"node.ineligible"}`, "ROLE node.ineligible east/n1", 204, wire.RoleOperator},
		{wire.ActFree, "POST", "/console/api/nodes/east/n1", `{"action":"node.eligible"}`, "ROLE node.eligible east/n1", 204, wire.RoleOperator},
		{wire.ActScale, "POST", "/console/api/apps/east/chess/scale", `{"warm":3,"version":3}`, "ROLE scale east/chess", 200, wire.RoleAdmin},
		{wire.ActRevert, "POST", "/console/api/apps/west/chess/revert", `{"to":2,"version":3}`, "ROLE revert west/chess", 200, wire.RoleAdmin},
		{wire.ActPublish, "POST", "/console/api/apps/east", `{"job":"job \"chess\" {}"}`, "ROLE publish east", 200, wire.RoleAdmin},
	}
	if len(actions) != len(needs) {
		t.Errorf("%d actions are tried, there are %d", len(actions), len(needs))
	}
	for _, role := range ranks {
		p := r.person(role)
		var me wire.ConsoleMe
		if p.ask("GET", wire.ConsoleMePath, "", &me); me.Role != role || me.CSRF != p.csrf || me.Site != "east" {
			t.Errorf("me: %+v", me)
		}
		mine := 0
		for _, a := range actions {
			r.world.did = nil
			before := 0
			if _, err := os.Stat(r.audit); err == nil {
				before = len(r.lines())
			}
			status, allowed := p.ask(a.method, a.path, a.body, nil), may(role, a.from)
			wrote := r.lines()[before:]
			last := wrote[len(wrote)-1]
			if last.Act != a.act || last.Who != "sub-"+string(role) || last.Role != role || last.From == "" || last.ID == "" {
				t.Errorf("%s as %s is written down as %+v", a.act, role, last)
			}
			if !allowed {
				if status != http.StatusForbidden || len(r.world.did) != 0 || len(wrote) != 1 || last.Result != resultRefused {
					t.Errorf("%s as %s: %d, done %q, written %+v", a.act, role, status, r.world.did, wrote)
				}
				continue
			}
			mine++
			want := strings.Replace(a.did, "ROLE", string(role), 1)
			if status != a.status || len(r.world.did) != 1 || r.world.did[0] != want || len(wrote) != 2 || wrote[0].Result != resultBegun || last.Result != resultOK || wrote[0].ID != last.ID {
				t.Errorf("%s as %s: %d, done %q, want %q, written %+v", a.act, role, status, r.world.did, want, wrote)
			}
			// Without the login's own token nothing is done, and nobody may do it from elsewhere.
			r.world.did = nil
			req := p.request(a.method, a.path, a.body)
			req.Header.Del(wire.ConsoleCSRFHeader)
			if res, _ := p.do(req); res.StatusCode != http.StatusForbidden || len(r.world.did) != 0 {
				t.Errorf("%s without the CSRF token: %s, %q", a.act, res.Status, r.world.did)
			}
			req = p.request(a.method, a.path, a.body)
			req.Header.Set("Origin", "https://evil.example")
			if res, _ := p.do(req); res.StatusCode != http.StatusForbidden || len(r.world.did) != 0 {
				t.Errorf("%s from another origin: %s, %q", a.act, res.Status, r.world.did)
			}
		}
		if mine != len(me.Actions) {
			t.Errorf("%s may do %d actions, and is told of %v", role, mine, me.Actions)
		}
		want := http.StatusOK
		if role == wire.RoleViewer {
			want = http.StatusForbidden
		}
		if status := p.ask("GET", wire.ConsoleAuditPath, "", nil); status != want {
			t.Errorf("the audit log as %s: %d", role, status)
		}
	}
	stranger := person{rig: r}
	for _, a := range actions {
		if status := stranger.ask(a.method, a.path, a.body, nil); status != http.StatusUnauthorized {
			t.Errorf("%s without a login: %d", a.act, status)
		}
	}
	for _, path := range []string{wire.ConsoleMePath, wire.ConsoleEventsPath, wire.ConsoleAuditPath, "/console/api/sessions/" + first, "/console/api/apps/east/chess"} {
		if status := stranger.ask("GET", path, "", nil); status != http.StatusUnauthorized {
			t.Errorf("%s without a login: %d", path, status)
		}
	}
}

// TestNoAuditNoAction: what cannot be written down is not done.
func TestNoAuditNoAction(t *testing.T) {
	if _, err := AuditFile("/nowhere/audit.log"); err == nil {
		t.Error("a console starts with an audit log that cannot be written")
	}
	r := newRig(t)
	if err := os.RemoveAll(filepath.Dir(r.audit)); err != nil {
		t.Fatal(err)
	}
	if status := r.person(wire.RoleOperator).ask("DELETE", "/console/api/sessions/"+first, "", nil); status != http.StatusServiceUnavailable || len(r.world.did) != 0 {
		t.Errorf("without an audit log: %d, done %q", status, r.world.did)
	}
}

// TestNoAnswer: Nomad may have done what it does not answer to, and the audit log names the app.
func TestNoAnswer(t *testing.T) {
	r := newRig(t)
	var p wire.Problem
	status := r.person(wire.RoleAdmin).ask("POST", "/console/api/apps/east", `{"job":"no answer"}`, &p)
	lines := r.lines()
	if last := lines[len(lines)-1]; status != http.StatusServiceUnavailable || !strings.Contains(p.Detail, "may have been done") || last.On != "chess" || last.Result != resultFailed || !strings.Contains(last.Why, "may have been done") {
		t.Errorf("%d %+v, written %+v", status, p, last)
	}
}

func TestBadRequests(t *testing.T) {
	r := newRig(t)
	p := r.person(wire.RoleAdmin)
	p.stream("").next()
	for _, c := range []struct {
		method, path, body string
		status             int
		kind               string
	}{
		{"POST", "/console/api/nodes/east/n1", `{"action":"node.explode"}`, 422, wire.ProblemInvalid},
		{"POST", "/console/api/nodes/east/n1", `{"action":"node.drain","deadline_s":-1}`, 422, wire.ProblemInvalid},
		{"POST", "/console/api/nodes/east/other", `{"action":"node.drain"}`, 404, wire.ProblemNotFound},
		{"POST", "/console/api/nodes/mars/n1", `{"action":"node.drain"}`, 404, wire.ProblemUnknownSite},
		{"POST", "/console/api/nodes/east/n1", `{"action":"node.drain","dead":1}`, 400, wire.ProblemMalformed},
		{"POST", "/console/api/apps/east/chess/scale", `{"version":3}`, 422, wire.ProblemInvalid},
		{"POST", "/console/api/apps/east/chess/scale", `{"warm":-1,"version":3}`, 422, wire.ProblemInvalid},
		{"POST", "/console/api/apps/east/chess%2Fdispatch-1/scale", `{"warm":1}`, 404, wire.ProblemUnknownApp},
		{"POST", "/console/api/apps/east", `{"job":""}`, 422, wire.ProblemInvalid},
		{"POST", "/console/api/apps/east", `{"job":"` + strings.Repeat("x", 2*wire.MaxConsoleJob) + `"}`, 413, wire.ProblemTooLarge},
		{"DELETE", "/console/api/sessions/nonsense", "", 404, wire.ProblemNotFound},
	} {
		var got wire.Problem
		if status := p.ask(c.method, c.path, c.body, &got); status != c.status || got.Type != c.kind || got.Detail == "" {
			t.Errorf("%s %s %.60s: %d %+v", c.method, c.path, c.body, status, got)
		}
	}
	if len(r.world.did) != 0 {
		t.Errorf("bad requests did %q", r.world.did)
	}
	var out wire.ConsolePublished
	if status := p.ask("POST", "/console/api/apps/east", `{"job":"no app"}`, &out); status != http.StatusOK || len(out.Problems) != 1 {
		t.Errorf("a job that is no app: %d %+v", status, out)
	}
	if lines := r.lines(); lines[len(lines)-1].Result != resultRefused || lines[len(lines)-1].Why != "it is none" {
		t.Errorf("written down as %+v", lines[len(lines)-1])
	}
}

func TestSessionAndPage(t *testing.T) {
	r := newRig(t)
	p := r.person(wire.RoleViewer)
	var one wire.ConsoleSession
	if status := p.ask("GET", "/console/api/sessions/"+first, "", &one); status != http.StatusOK || one.Session.Session != first || one.Placement.Candidates[0].Reason != "nearest" {
		t.Errorf("session: %d %+v", status, one)
	}
	if one.Session.Meta != nil {
		t.Errorf("the page gets what a customer says of a person: %v", one.Session.Meta)
	}
	if res, text := p.do(p.request("GET", wire.ConsoleLogoutPath, "")); res.StatusCode != http.StatusOK || !strings.Contains(string(text), "You have logged out") {
		t.Errorf("the page after the logout: %s %s", res.Status, text)
	}
	res, text := p.do(p.request("GET", "/console", ""))
	if csp := res.Header.Get("Content-Security-Policy"); res.StatusCode != http.StatusOK || string(text) != "<!doctype html>" || !strings.Contains(csp, "script-src 'self'") || strings.Contains(csp, "unsafe") {
		t.Errorf("the page: %s %s %s", res.Status, csp, text)
	}
	if res, _ := p.do(p.request("GET", "/assets/js/console/main.js", "")); res.Header.Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("a script: %s %q", res.Status, res.Header.Get("Content-Type"))
	}
	for _, path := range []string{"/web.go", "/assets/../web.go", "/assets/js"} {
		if res, _ := p.do(p.request("GET", path, "")); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	// A name that leads to this address is not this console.
	req := p.request("GET", "/console", "")
	req.Host = "evil.example"
	if res, _ := p.do(req); res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("by another name: %s", res.Status)
	}
	cfg := r.console.cfg
	cfg.URL = "https://Console.example:443"
	named, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	rw := httptest.NewRecorder()
	if named.ServeHTTP(rw, httptest.NewRequest("GET", "https://console.example/console", nil)); rw.Code != http.StatusOK {
		t.Errorf("by its own name, without the port that https has: %d", rw.Code)
	}
	for _, url := range []string{"http://console.example", "ftp://x", "https://x/path", ""} {
		cfg := r.console.cfg
		cfg.URL = url
		if _, err := New(cfg); err == nil {
			t.Errorf("URL %q is taken", url)
		}
	}
}
