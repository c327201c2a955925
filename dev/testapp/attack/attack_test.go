package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain serves the processes that Run starts: they are this program again.
func TestMain(m *testing.M) {
	if IsChild() {
		if err := RunHere(os.Args[2], os.Args[4], os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func TestParse(t *testing.T) {
	names, err := Parse("all", "")
	if err != nil || !slices.Contains(names, "ptrace") || slices.Contains(names, "memory-hog") {
		t.Errorf("all is %q, %v", names, err)
	}
	if names, err = Parse("memory-hog,ptrace", `{"tag":"x"}`); err != nil || !slices.Equal(names, []string{"memory-hog", "ptrace"}) {
		t.Errorf("two are %q, %v", names, err)
	}
	if _, err = Parse("ptrase", ""); err == nil || !strings.Contains(err.Error(), "ptrase") {
		t.Errorf("an unknown attack: %v", err)
	}
	if _, err = Parse("all", `{"tagg":"x"}`); err == nil || !strings.Contains(err.Error(), "tagg") {
		t.Errorf("an unknown argument: %v", err)
	}
	all := Names(true)
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("a name comes twice: %q", all)
	}
}

func TestResult(t *testing.T) {
	for _, c := range []struct {
		note func(a *attacker)
		want Outcome
	}{
		{func(*attacker) {}, Unavailable},
		{func(a *attacker) { a.lack("tool") }, Unavailable},
		{func(a *attacker) { a.lack("tool"); a.refuse("open", unix.EACCES) }, Refused},
		{func(a *attacker) { a.refuse("open", unix.EACCES); a.succeed("read") }, Succeeded},
	} {
		a := newAttacker(Args{})
		c.note(a)
		if r := a.result(); r.Outcome != c.want || r.Detail == "" {
			t.Errorf("got %+v, want %s", r, c.want)
		}
	}
}

// A process is not taken for another that has its number in another namespace.
func TestVisible(t *testing.T) {
	p, err := Describe("this test", os.Getpid())
	if err != nil || p.visible() != nil {
		t.Fatalf("%+v: %v, %v", p, err, p.visible())
	}
	p.Start++
	if err := p.visible(); !errors.Is(err, errNotVisible) {
		t.Errorf("another process of the number: %v", err)
	}
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := Run([]string{"fill-tmp", "ptrace"}, `{"max_bytes":1048576,"tag":"nearcast-attack-test"}`, &out); err != nil {
		t.Fatal(err)
	}
	var outcomes []Outcome
	for dec := json.NewDecoder(&out); dec.More(); {
		var r Result
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		outcomes = append(outcomes, r.Outcome)
	}
	if !slices.Equal(outcomes, []Outcome{Succeeded, Unavailable, ""}) {
		t.Errorf("outcomes are %q", outcomes)
	}
	if _, err := os.Stat("/tmp/nearcast-attack-test-fill"); err == nil {
		t.Error("the file that filled the disk is left")
	}
}

// A disk that is full refuses.
func TestFillRefused(t *testing.T) {
	a := newAttacker(Args{MaxBytes: 1 << 20, Tag: "x"})
	if r := a.fill(context.Background(), "/proc"); r.Outcome != Refused {
		t.Errorf("got %+v", r)
	}
}

// An attack that leaves no room for a thread must not need one.
func TestSpareThreads(t *testing.T) {
	spareThreads()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil || len(threads) < 16 {
		t.Errorf("%d threads, %v", len(threads), err)
	}
}
