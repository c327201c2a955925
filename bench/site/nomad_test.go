package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestPages reads lists in pages, with a filter, as brains do.
func TestPages(t *testing.T) {
	n := newNomad()
	n.app("app", 10)
	for i := range 25 {
		n.child("app", "node", i%5 == 0)
	}
	address, server, err := n.serve()
	testkit.Must(t, err)
	defer server.Close()
	client, err := api.NewClient(&api.Config{Address: "http://" + address, Namespace: namespace, HttpClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	testkit.Must(t, err)
	for path, filter := range map[string]string{
		"/v1/jobs":        `Type == "batch" and Status != "dead" and ParentID != ""`,
		"/v1/allocations": `ClientStatus != "complete"`,
	} {
		seen := map[string]bool{}
		for q := (&api.QueryOptions{PerPage: 7, Filter: filter}); ; {
			var page []struct{ ID string }
			meta, err := client.Raw().Query(path, &page, q)
			testkit.Must(t, err)
			for _, one := range page {
				seen[one.ID] = true
			}
			if meta.NextToken == "" {
				break
			}
			q.NextToken = meta.NextToken
		}
		if len(seen) != 20 {
			t.Errorf("%s: %d of 20 that live", path, len(seen))
		}
	}
}

// TestEvents reads from an index beyond all events, as brains do.
func TestEvents(t *testing.T) {
	n := newNomad()
	n.place = func(job) (string, string, bool) { return "alloc", "node", true }
	n.app("app", 10)
	address, server, err := n.serve()
	testkit.Must(t, err)
	defer server.Close()
	resp, err := http.Get("http://" + address + "/v1/event/stream?index=9223372036854775807")
	testkit.Must(t, err)
	defer resp.Body.Close()
	child, _ := n.dispatch("app", "token")
	if again, _ := n.dispatch("app", "token"); again != child {
		t.Errorf("one token gave %s and %s", child, again)
	}
	n.died(child)
	var text strings.Builder
	buf := make([]byte, 16<<10)
	for !strings.Contains(text.String(), `"ClientStatus":"complete"`) {
		read, err := resp.Body.Read(buf)
		testkit.Must(t, err)
		text.Write(buf[:read])
	}
	if !strings.Contains(text.String(), dispatched) || !strings.Contains(text.String(), child) {
		t.Error(text.String())
	}
}
