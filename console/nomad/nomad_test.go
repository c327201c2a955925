package nomad

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

// TestSaid: what Nomad refuses is said in its words; where a region does not answer, it is not said that
// it refuses.
func TestSaid(t *testing.T) {
	var status int
	var body string
	nomad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, body, status) }))
	defer nomad.Close()
	c, err := Open(Config{Address: nomad.URL, Namespace: "apps"})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		status int
		body   string
		want   int // of the problem; 0 where the site does not answer
	}{
		{500, "1 error occurred:\n\t* Task group seat validation failed", 422},
		{500, "rpc error: 1 error occurred:\n\t* Task group seat validation failed", 422}, // of another region
		{400, "Failed to parse job: unexpected EOF", 422},
		{403, "Permission denied", 403},
		{403, "rpc error: Permission denied", 403},
		{404, "job not found", 404},
		{500, "No path to region", 0},
		{500, "rpc error: No cluster leader", 0},
		{500, "rpc error: failed to get conn: dial tcp 10.0.0.1:4647: i/o timeout", 0},
		{500, "rpc error: failed to get conn: rpc error: lead thread didn't get connection", 0},
		{500, "rpc error: EOF", 0},
		{500, "rpc error: session shutdown", 0},
		{500, "internal", 0},
	} {
		status, body = x.status, x.body
		_, err := c.Job(t.Context(), "west", "game")
		var p wire.Problem
		if errors.As(err, &p); err == nil || p.Status != x.want {
			t.Errorf("%d %q is %+v", x.status, x.body, err)
		}
	}
}
