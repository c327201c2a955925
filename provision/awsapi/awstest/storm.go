package awstest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// Storm is a time in which AWS fails, the metadata service too.
type Storm struct {
	Seed uint64
	// Until then each request fails: see Kinds.
	Until time.Time
	// Then, and until Calm, half of the requests fail. Some of these do their work, and the answer
	// is lost.
	Calm time.Time
	// Hang is how long a request that gets no answer is kept, unless the client gives up before.
	Hang time.Duration
}

// Kinds are the ways in which requests fail in a storm.
var Kinds = []string{"500", "throttled", "no answer", "cut off", "answer lost"}

type storm struct {
	Storm
	rand   *rand.Rand
	failed map[string]int
}

// Begin begins a storm.
func (c *Cloud) Begin(s Storm) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.storm = &storm{s, rand.New(rand.NewPCG(s.Seed, 0)), map[string]int{}}
}

// Failed counts the requests that failed in the storm, by kind; "" are those that were answered.
func (c *Cloud) Failed() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.storm.failed)
}

// strike says how a request fails; "" if it does not.
func (c *Cloud) strike(now time.Time) (kind string, hang time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.storm
	if s == nil {
		return "", 0
	}
	switch lossless := len(Kinds) - 1; {
	case now.Before(s.Until):
		kind = Kinds[s.rand.IntN(lossless)]
	case now.Before(s.Calm) && s.rand.IntN(2) == 0:
		kind = Kinds[s.rand.IntN(len(Kinds))]
	}
	s.failed[kind]++
	return kind, s.Hang
}

// fail answers a request whose body was read, as AWS does when it fails.
func (c *Cloud) fail(w http.ResponseWriter, r *http.Request, body []byte, kind string, hang time.Duration) {
	metadata := strings.HasPrefix(r.URL.Path, "/latest/")
	switch kind {
	case "throttled":
		switch {
		case metadata:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Header.Get("X-Amz-Target") != "":
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"ThrottlingException","Message":"Rate exceeded"}`)
		default:
			w.Header().Set("Content-Type", "text/xml")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, "<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>")
		}
		return
	case "no answer":
		timer := time.NewTimer(hang)
		defer timer.Stop()
		select {
		case <-r.Context().Done():
		case <-timer.C:
		}
		panic(http.ErrAbortHandler)
	case "cut off":
		panic(http.ErrAbortHandler)
	case "answer lost":
		c.serve(httptest.NewRecorder(), r, body)
	}
	w.WriteHeader(http.StatusInternalServerError)
}
