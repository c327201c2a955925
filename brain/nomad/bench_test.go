package nomad

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/bench/report"
	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/testkit"
)

// The benchmarks print JSON lines, as those of bench/ do:
//
//	go test -run '^$' -bench . -benchtime 1x ./brain/nomad
//
//	{"children":10000,"dead":15000,"measure":"nomad_batch","unit":"ms","value":0.1,…}   CPU for one message of Nomad
//	{"children":10000,"dead":15000,"measure":"nomad_sessions","unit":"1/s","value":1000} sessions that a core can follow
//	{"children":2500,"measure":"nomad_start","state":"running",…} ms until the first answer, with a real Nomad
//	{"children":2500,"measure":"nomad_requests","unit":"requests",…} made for it
//	{"children":2500,"measure":"nomad_follow","unit":"1/s",…}     real dispatches that were followed
//	{"children":2500,"measure":"nomad_follow_cpu","unit":"ms",…}  CPU of the follower for each
//	{"children":2500,"measure":"nomad_resume","unit":"ms",…}      from a cut stream until the next event
//	{"children":2500,"measure":"nomad_relist","unit":"ms",…}      the same where Nomad has forgotten the events
var out = report.New(os.Stdout)

// session is all that Nomad v1.11.2 said of one child, from its dispatch to its end.
//
//go:embed testdata/session.ndjson
var session []byte

const (
	sessionChild  = "bad/dispatch-1795895821-e6da45f9"
	sessionAlloc  = "bc7e5f54-b3b1-ba72-79f3-6600c4ebf92b"
	sessionBegins = 17
)

var index = regexp.MustCompile(`Index":(\d+)`)

// sessionOf are the messages of the n-th session after those that were listed.
func sessionOf(n int) (lines [][]byte) {
	text := bytes.ReplaceAll(session, []byte(sessionChild), fmt.Appendf(nil, "bad/dispatch-v1-s-%08d-1795895821-e6da45f9", n))
	text = bytes.ReplaceAll(text, []byte(sessionAlloc), fmt.Appendf(nil, "bc7e5f54-b3b1-ba72-79f3-%012d", n))
	text = index.ReplaceAllFunc(text, func(b []byte) []byte {
		i, _ := strconv.Atoi(string(b[len(`Index":`):]))
		if i >= sessionBegins {
			i += 1_000_000 + 100*n
		}
		return fmt.Appendf(nil, `Index":%d`, i)
	})
	for line := range bytes.Lines(text) {
		lines = append(lines, line)
	}
	return lines
}

// BenchmarkEvents feeds a mirror the messages of whole sessions.
func BenchmarkEvents(b *testing.B) {
	for _, size := range []struct{ children, dead int }{{100, 0}, {2500, 0}, {10_000, 0}, {10_000, 15_000}} {
		b.Run(fmt.Sprintf("%d+%d", size.children, size.dead), func(b *testing.B) {
			c := &Client{log: slog.New(slog.DiscardHandler), driver: "raw_exec"}
			m := newMirror(c)
			m.merge(manyChildren(size.children))
			m.flush()
			for n := range size.dead { // they come and go before
				for _, line := range sessionOf(n) {
					follow(b, m, line)
				}
			}
			const sessions = 200
			var lines [][]byte
			for n := range sessions {
				lines = append(lines, sessionOf(size.dead+n)...)
			}
			var spent time.Duration
			runs, ends := 0, 0
			for b.Loop() {
				begin := cpu()
				for _, line := range lines {
					ends += follow(b, m, line)
				}
				spent += cpu() - begin
				runs++
			}
			if len(m.children) != size.children || ends != runs*sessions {
				b.Fatalf("%d children are left, %d ends were told in %d runs", len(m.children), ends, runs)
			}
			labels := map[string]any{"children": size.children, "dead": size.dead}
			ms := spent.Seconds() * 1000 / float64(runs)
			out.Value("nomad_batch", "ms", ms/float64(len(lines)), labels)
			out.Value("nomad_sessions", "1/s", sessions/(ms/1000), labels)
		})
	}
}

// follow takes a message, and counts the ends that it told.
func follow(b *testing.B, m *mirror, line []byte) (ends int) {
	var s stream
	batch, err := s.decode(line)
	if err != nil {
		b.Fatal(err)
	}
	m.last = batch.Index
	m.apply(batch.Events)
	change, _ := m.flush()
	for _, c := range change.Children {
		if c.State == brain.ChildDead {
			ends++
		}
	}
	return ends
}

// manyChildren are tables with an app and its children, which run.
func manyChildren(n int) *tables {
	t := &tables{index: 1000, apps: map[string]mirrored{"bad": {App: brain.App{ID: "bad"}}}}
	for i := range n {
		id := fmt.Sprintf("bad/dispatch-v1-s-old%08d-1795895821-e6da45f9", i)
		t.children = append(t.children, stub{ID: id, ParentID: "bad"})
		t.allocs = append(t.allocs, alloc{ID: fmt.Sprintf("old-%d", i), JobID: id, NodeName: "node", ClientStatus: "running"})
	}
	return t
}

// cpu is the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkNomad follows a real Nomad with many children that run. Their driver is Nomad's own
// mock_driver, which starts no process: one machine can have them. Releases of Nomad lack it,
// those that are built from source have it.
func BenchmarkNomad(b *testing.B) {
	followMany(b, "running", "mock_driver", `
client {
  cpu_total_compute = 100000
  memory_total_mb   = 100000
  disk_total_mb     = 100000
  disk_free_mb      = 100000
  options = { "driver.allowlist" = "mock_driver" }
}`, `job "many" {
  type = "batch"
  parameterized {}
  group "g" {
    restart { attempts = 0 }
    reschedule { attempts = 0 }
    ephemeral_disk { size = 20 }
    task "seat" {
      driver = "mock_driver"
      config { run_for = "2h" }
      logs {
        disabled      = true # else each has a process for its logs
        max_files     = 1
        max_file_size = 10
      }
      resources {
        cpu    = 10
        memory = 10
      }
    }
  }
}`)
}

// BenchmarkNomadBlocked follows children that no node takes: each has a job, an evaluation and
// a place in Nomad's queue, and no allocation.
func BenchmarkNomadBlocked(b *testing.B) {
	followMany(b, "blocked", "raw_exec", `
client {
  options = { "driver.allowlist" = "raw_exec" }
}
plugin "raw_exec" {
  config { enabled = true }
}`, jobHCL("many", "", "true", `constraint {
      attribute = "${node.class}"
      value = "gpu"
    }`))
}

// followMany follows a real Nomad with many children, all in one state.
func followMany(b *testing.B, state, driver, config, hcl string) {
	const children, more = 2500, 300
	n := testkit.NewNomad(b)
	n.Start(config)
	b.Cleanup(n.Kill) // no child has a process; to stop them all would take minutes
	n.WaitReady(driver)
	c, err := Open(Config{Address: n.Address, Namespace: "apps", Log: slog.New(slog.DiscardHandler)})
	testkit.Must(b, err)
	b.Cleanup(c.Close)
	c.driver = driver
	testkit.Retry(testkit.Context(b, time.Minute), b, "the apps' namespace", func() error {
		_, err := c.api.Namespaces().Register(&api.Namespace{Name: "apps"}, nil)
		return err
	})
	job, err := c.api.Jobs().ParseHCL(hcl, true)
	testkit.Must(b, err)
	_, _, err = c.api.Jobs().Register(job, nil)
	testkit.Must(b, err)
	dispatch := func(kind string, count int) {
		var all errgroup.Group
		all.SetLimit(8)
		for i := range count {
			all.Go(func() error {
				_, err := c.Dispatch(b.Context(), brain.App{ID: "many"}, fmt.Sprintf("s-%s-%d", kind, i))
				return err
			})
		}
		testkit.Must(b, all.Wait())
	}
	dispatch("old", children)

	p := newProxy(b, n.Address)
	client, err := Open(Config{Address: p.URL, Namespace: "apps", Log: slog.New(slog.DiscardHandler)})
	testkit.Must(b, err)
	b.Cleanup(client.Close)
	client.driver = driver
	labels := map[string]any{"children": children, "state": state}
	testkit.Retry(testkit.Context(b, 10*time.Minute), b, "all children are "+state, func() error {
		w := &counting{}
		w.follow(b, c)
		defer w.stop()
		testkit.Within(b, 30*time.Second, "the tables are read", func() bool { return w.calls.Load() > 0 })
		if n := w.blocked.Load(); state == "blocked" && n < children {
			return fmt.Errorf("%d are", n)
		}
		if n := w.running.Load(); state == "running" && n < children {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	for b.Loop() {
		begin, used := time.Now(), cpu()
		direct := &counting{}
		direct.follow(b, c)
		testkit.Within(b, time.Minute, "the first answer", func() bool { return direct.calls.Load() > 0 })
		out.Value("nomad_start", "ms", ms(time.Since(begin)), labels)
		out.Value("nomad_start_cpu", "ms", ms(cpu()-used), labels)
		direct.stop()

		p.counts()
		w := &counting{}
		w.follow(b, client)
		testkit.Within(b, time.Minute, "the first answer", func() bool { return w.calls.Load() > 0 })
		requests := 0
		for _, n := range p.counts() {
			requests += n
		}
		out.Value("nomad_requests", "requests", float64(requests), labels)

		// What the dispatches cost here is measured without a follower first.
		used = cpu()
		w.stop()
		dispatch("alone", more)
		alone := cpu() - used
		direct = &counting{}
		direct.follow(b, c)
		testkit.Within(b, time.Minute, "the first answer", func() bool { return direct.calls.Load() > 0 })
		was := direct.known.Load()
		begin, used = time.Now(), cpu()
		dispatch("more", more)
		testkit.Within(b, time.Minute, "all are followed", func() bool { return direct.known.Load() >= was+more })
		out.Value("nomad_follow", "1/s", more/time.Since(begin).Seconds(), labels)
		out.Value("nomad_follow_cpu", "ms", ms(cpu()-used-alone)/more, labels)
		direct.stop()

		w = &counting{}
		w.follow(b, client)
		testkit.Within(b, time.Minute, "the first answer", func() bool { return w.calls.Load() > 0 })
		for measure, count := range map[string]int{"nomad_resume": 2, "nomad_relist": 100} {
			was := w.known.Load()
			p.setCut(true)
			dispatch(measure, count)
			p.setCut(false)
			begin := time.Now()
			testkit.Within(b, time.Minute, "what was missed", func() bool { return w.known.Load() >= was+int64(count) })
			out.Value(measure, "ms", ms(time.Since(begin)), labels)
		}
		w.stop()
	}
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// counting counts the children that a watch tells of.
type counting struct {
	calls, known, blocked, running atomic.Int64
	stop                           func()
}

func (w *counting) follow(b *testing.B, c *Client) {
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ids := map[string]struct{}{}
		c.Watch(ctx, func(change brain.JobsChange) {
			for id, child := range change.Children {
				ids[id] = struct{}{}
				switch child.State {
				case brain.ChildBlocked:
					w.blocked.Add(1)
				case brain.ChildRunning:
					w.running.Add(1)
				}
			}
			w.known.Store(int64(len(ids)))
			w.calls.Add(1)
		})
	}()
	w.stop = func() { cancel(); <-ended }
}
