package cloud_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/cloud"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision/nodetest"
)

// link cuts the link between the servers of two sites, has them examined through the first one, and heals it.
func (w *walk) link(o *operator, through, other *nodetest.Node) {
	w.t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		w.t.Log("no link is cut: nft is not installed")
		return
	}
	ctx := testkit.Context(w.t, 3*time.Minute)
	before := o.doctor()
	is := fmt.Sprintf("%s: the link between %s and %[1]s is cut", other.Values.Site, through.Values.Site)
	if slices.ContainsFunc(before, aboutLink) {
		w.t.Errorf("before the link is cut, the doctor says %q", before)
	}
	heal := w.cut(through, other)
	began := time.Now()
	testkit.Retry(ctx, w.t, "the doctor says which link is cut", func() error {
		found := o.doctor()
		if said := slices.DeleteFunc(slices.Clone(found), func(s string) bool { return !aboutLink(s) }); !slices.Equal(said, []string{is}) {
			return fmt.Errorf("it says %q", found)
		}
		return nil
	})
	w.t.Logf("the doctor names the link %.1f s after its cut", time.Since(began).Seconds())
	w.stage("a link is cut")
	heal()
	testkit.Retry(testkit.Context(w.t, 3*time.Minute), w.t, "the doctor says nothing of links any more", func() error {
		if found := o.doctor(); slices.ContainsFunc(found, aboutLink) {
			return fmt.Errorf("it says %q, and said %q before the cut", found, before)
		}
		return nil
	})
	w.stage("it is healed")
}

// aboutLink reports whether a finding is of a link, or of a site that is not reached.
func aboutLink(found string) bool {
	return slices.ContainsFunc([]string{"link", "do not reach", "do not see", "does not answer"}, func(words string) bool { return strings.Contains(found, words) })
}

// doctor is what nearcast cloud doctor finds, as "SITE: PROBLEM", but for clocks: Nomad measures itself late on a
// busy machine.
func (o *operator) doctor() (found []string) {
	o.t.Helper()
	var findings []cloud.Finding
	testkit.Must(o.t, json.Unmarshal([]byte(o.run(1, "doctor", "--json")), &findings)) // 1: no site has a router
	for _, f := range findings {
		if !strings.Contains(f.Problem, "clock") {
			found = append(found, f.Site+": "+f.Problem)
		}
	}
	slices.Sort(found)
	return found
}

// cut cuts what goes between the only servers of two sites, until heal is called: gossip is dropped, and
// connections are reset, as those of servers that ended are; the time until a silent one is given up says
// nothing about the doctor. The sites share an address space, in which the ports of calls of the first site are
// those of its own nodes too, so only calls to the other site are cut.
func (w *walk) cut(a, b *nodetest.Node) (heal func()) {
	w.t.Helper()
	nft := exec.Command("nft", "-i")
	nft.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	rules, err := nft.StdinPipe()
	testkit.Must(w.t, err)
	testkit.Must(w.t, nft.Start())
	ended := false
	heal = func() {
		if !ended {
			ended = true
			rules.Close()
			nft.Wait()
		}
	}
	w.t.Cleanup(heal)
	// The kernel removes a table with an owner when that ends.
	table := fmt.Sprintf("nearcast-test-%d", nft.Process.Pid)
	_, err = io.WriteString(rules, strings.NewReplacer("TABLE", table, "FIRST", a.Address, "OTHER", b.Address).Replace(`add table ip TABLE { flags owner; }
add chain ip TABLE out { type filter hook output priority 0; }
add rule ip TABLE out ip daddr { FIRST, OTHER } udp dport { 8302, 4648 } counter drop
add rule ip TABLE out ip daddr { FIRST, OTHER } tcp dport { 8302, 4648 } counter reject with tcp reset
add rule ip TABLE out ip daddr OTHER tcp dport { 8300, 4647 } counter reject with tcp reset
add chain ip TABLE whole
`))
	testkit.Must(w.t, err)
	testkit.Retry(w.ctx, w.t, "the rules are there", func() error {
		if out, err := exec.CommandContext(w.ctx, "nft", "list", "chain", "ip", table, "whole").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	return heal
}

// standInRouter answers people who ask for the sites, all of them well.
func standInRouter(t *testing.T, sites ...string) (url string) {
	said := wire.SitesResponse{Entry: sites[0]}
	for _, site := range sites {
		said.Sites = append(said.Sites, wire.SiteView{Site: site, Healthy: true})
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(said)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
