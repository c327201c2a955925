package facts

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// text is an answer's JSON.
func (a Answer) text(t testing.TB) string {
	t.Helper()
	body := io.Reader(bytes.NewReader(a.Body))
	if a.Zipped {
		z, err := gzip.NewReader(body)
		testkit.Must(t, err)
		body = z
	}
	text, err := io.ReadAll(body)
	testkit.Must(t, err)
	return string(text)
}

func (a Answer) is(b Answer) bool { return &a.Body[0] == &b.Body[0] }

// sitesApps are n apps with long words.
func sitesApps(n, idle int) map[string]wire.App {
	out := map[string]wire.App{}
	for i := range n {
		one := app(fmt.Sprint("app", i), idle)
		one.Description = strings.Repeat("d", 200)
		out[one.ID] = one
	}
	return out
}

// TestAnswers checks that an answer is what Since says, at each moment, and is encoded once.
func TestAnswers(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	teller := NewTeller("far")
	apps := sitesApps(30, 0)
	var seen []string
	for step := range 300 {
		if random.IntN(3) == 0 {
			apps = sitesApps(30, random.IntN(3))
			one := apps["app7"]
			one.Capacity.Busy = random.IntN(3)
			apps["app7"] = one
		}
		teller.Set(apps, nil, nil, wire.SiteInfo{Site: "far"})
		seen = append(seen, teller.Version())
		have, zip := seen[random.IntN(len(seen))], random.IntN(2) == 0
		if random.IntN(10) == 0 {
			have = "nobody knows it"
		}
		a, err := teller.Answer(have, zip)
		testkit.Must(t, err)
		want, err := json.Marshal(teller.Since(have))
		testkit.Must(t, err)
		if got := a.text(t); got != string(want) || a.Zipped && (!zip || len(got) < worthZipping) {
			t.Fatalf("seed %d, step %d: since %q, zip %v: answered %s, want %s", seed, step, have, zip, got, want)
		}
		if again, err := teller.Answer(have, zip); err != nil || !again.is(a) {
			t.Fatalf("seed %d, step %d: the same answer is encoded twice: %v", seed, step, err)
		}
	}
	everything, err := teller.Answer("one", true)
	testkit.Must(t, err)
	if other, err := teller.Answer("another", true); err != nil || !other.is(everything) || !other.Zipped {
		t.Errorf("each version that is not known has an answer of its own, or a large one is not compressed: %v", err)
	}
}

// TestAnswersAreBounded checks what is kept where routers ask for changes since many
// versions, and where answers are large.
func TestAnswersAreBounded(t *testing.T) {
	for name, apps := range map[string]int{"many": 2, "large": 100} {
		teller := NewTeller("far")
		var versions []string
		for i := range maxAnswers + 8 {
			all := sitesApps(apps, i)
			for id, one := range all {
				one.Description = strings.Repeat(id, 400)
				all[id] = one
			}
			teller.Set(all, nil, nil, wire.SiteInfo{Site: "far"})
			versions = append(versions, teller.Version())
		}
		for _, have := range versions {
			if _, err := teller.Answer(have, false); err != nil {
				t.Fatal(err)
			}
		}
		kept, size := teller.answers.kept, 0
		for _, a := range kept {
			size += len(a.Body)
		}
		if len(kept) == 0 || len(kept) > maxAnswers || size > maxAnswerSize || size != teller.answers.size {
			t.Errorf("%s: %d answers of %d bytes are kept, counted as %d", name, len(kept), size, teller.answers.size)
		}
	}
}

// TestAnswersAtOnce has many ask while the site changes: each answer is of a version that was,
// and the last one of the last version.
func TestAnswersAtOnce(t *testing.T) {
	teller := NewTeller("far")
	teller.Set(sitesApps(30, 0), nil, nil, wire.SiteInfo{Site: "far"})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				a, err := teller.Answer("", true)
				if err != nil {
					t.Error(err)
					return
				}
				var f wire.SiteFacts
				if err := json.Unmarshal([]byte(a.text(t)), &f); err != nil || len(f.Apps) != 30 {
					t.Errorf("%v, %d apps", err, len(f.Apps))
					return
				}
			}
		})
	}
	for i := range 50 {
		teller.Set(sitesApps(30, i), nil, nil, wire.SiteInfo{Site: "far"})
	}
	all.Wait()
	a, err := teller.Answer("", true)
	testkit.Must(t, err)
	if !strings.Contains(a.text(t), `"version":"`+teller.Version()+`"`) {
		t.Error("the last answer is of another version")
	}
}
