package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/bench/report"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/content"
)

// fetchArg makes this program fetch, in a process of its own as a seat does.
const fetchArg = "fetch"

// bench is what the measurements need.
type bench struct {
	options
	store  *objectStore
	peer   string // s5cmd's path, or empty
	dir    string
	report *report.Report
}

// measured is what one fetch took.
type measured struct {
	wall time.Duration
	cpu  time.Duration // of the process that fetches
	// server is the processor time of the store: it shares the machine.
	server time.Duration
	// durable is wall until what was fetched was also on disk.
	durable time.Duration
	// checked, of s5cmd alone, is durable until all was then read and summed up once too.
	checked time.Duration
}

// beside measures nearcast and s5cmd in turn.
func (b *bench) beside(ctx context.Context, s shape) error {
	times := map[string][]float64{}
	for round := range b.rounds {
		who := []string{"nearcast", "s5cmd"}
		if round%2 == 1 {
			who = []string{"s5cmd", "nearcast"}
		}
		took := map[string]measured{}
		for _, name := range who {
			if name == "s5cmd" && b.peer == "" {
				continue
			}
			m, err := b.once(ctx, name, s)
			if err != nil {
				return err
			}
			took[name] = m
			times[name] = append(times[name], m.wall.Seconds())
			say("%s, round %d: %s %v, processor %v and the store's %v", s.name, round+1, name, m.wall, m.cpu, m.server)
		}
		ours, peer := took["nearcast"], took["s5cmd"]
		if b.peer == "" {
			continue
		}
		compare := func(measure string, ours, peer time.Duration) error {
			return b.report.Value(measure, "x s5cmd", peer.Seconds()/ours.Seconds(), map[string]any{
				"shape": s.name, "round": round + 1, "nearcast_s": ours.Seconds(), "s5cmd_s": peer.Seconds(),
			})
		}
		if err := errors.Join(
			compare("speed", ours.wall, peer.wall),
			compare("speed_alone_durable", ours.durable, peer.wall),
			compare("speed_both_durable", ours.durable, peer.durable),
			compare("speed_both_checked", ours.durable, peer.checked),
			b.report.Value("processor", "x s5cmd", (peer.cpu+peer.server).Seconds()/(ours.cpu+ours.server).Seconds(), map[string]any{
				"shape": s.name, "round": round + 1, "nearcast_s": ours.cpu.Seconds(), "nearcast_store_s": ours.server.Seconds(),
				"s5cmd_s": peer.cpu.Seconds(), "s5cmd_store_s": peer.server.Seconds(),
			}),
		); err != nil {
			return err
		}
	}
	for who, samples := range times {
		if err := b.report.Line("fetch", "s", samples, map[string]any{"shape": s.name, "who": who}); err != nil {
			return err
		}
	}
	return nil
}

// fewFiles is up to how many files a fetch's are removed after it, and not at the end of
// the run: on ext4 without a journal, a file that is made soon after others were removed
// looks at the inode of each of them.
const fewFiles = 100

// once is one fetch into an empty folder.
func (b *bench) once(ctx context.Context, who string, s shape) (took measured, err error) {
	dir, err := os.MkdirTemp(b.dir, who+"-")
	if err != nil {
		return took, err
	}
	if s.count <= fewFiles {
		defer os.RemoveAll(dir)
	}
	task := filepath.Join(dir, "task")
	if err := os.Mkdir(task, 0o755); err != nil {
		return took, err
	}
	unix.Sync()
	if err := takeMemory(int64(s.count) * s.size); err != nil {
		return took, err
	}
	before, err := b.store.processor()
	if err != nil {
		return took, err
	}
	if who == "s5cmd" {
		start := time.Now()
		if took, err = timed(exec.CommandContext(ctx, b.peer, "--log", "error", "--endpoint-url", "http://"+b.store.address, "cp", "s3://"+bucket+"/"+s.name+"/*", task+"/")); err == nil {
			err = took.hold(start, task)
		}
	} else {
		took, err = b.seat(ctx, b.store.address, s.source(), filepath.Join(dir, "cache"), task)
	}
	if err != nil {
		return took, err
	}
	after, err := b.store.processor()
	if err != nil {
		return took, err
	}
	took.server = after - before
	return took, complete(task, s)
}

// hold makes what is below dir durable, then sums it up as the fetch of a seat does, and
// says when each was done.
func (m *measured) hold(start time.Time, dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return err
	}
	m.durable = time.Since(start)
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		_, err = io.Copy(struct{ io.Writer }{crc32.NewIEEE()}, in)
		return err
	})
	m.checked = time.Since(start)
	return err
}

// source is what a job says to get a shape.
func (s shape) source() wire.Content {
	return wire.Content{Source: "s3://" + bucket + "/" + s.name + "/", Destination: "."}
}

// seat fetches as a seat of a node does.
func (b *bench) seat(ctx context.Context, store string, item wire.Content, cache, task string) (measured, error) {
	self, err := os.Executable()
	if err != nil {
		return measured{}, err
	}
	raw, err := json.Marshal(wire.Spec{
		S3:      wire.S3{Endpoint: "http://" + store, Region: region, PathStyle: true},
		Content: []wire.Content{item},
		Cache:   wire.Cache{Dir: cache}, TaskDir: task,
	})
	if err != nil {
		return measured{}, err
	}
	unix.Sync()
	return timed(exec.CommandContext(ctx, self, fetchArg, string(raw), b.profile))
}

// timed runs a process to its end.
func timed(cmd *exec.Cmd) (measured, error) {
	var out bytes.Buffer
	var said moments
	cmd.Stderr = &out
	cmd.Stdout = &said
	cmd.Env = environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, tail(out.Bytes()))
	}
	took := measured{durable: time.Since(start)}
	took.wall = took.durable
	if len(said) == 2 {
		took.wall, took.durable = said[0].Sub(start), said[1].Sub(start)
	}
	if cmd.ProcessState != nil {
		took.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return took, err
}

// moments are when something was written, each line in one write.
type moments []time.Time

func (m *moments) Write(b []byte) (int, error) {
	*m = append(*m, time.Now())
	return len(b), nil
}

func tail(b []byte) []byte { return b[max(0, len(b)-500):] }

// fetchChild is the process that fetches.
func fetchChild(args []string) int {
	var spec wire.Spec
	err := errors.New("internal: two arguments are needed")
	if len(args) == 2 {
		err = json.Unmarshal([]byte(args[0]), &spec)
	}
	if err == nil && args[1] != "" {
		var out *os.File
		if out, err = os.Create(args[1]); err == nil {
			defer out.Close()
			err = pprof.StartCPUProfile(out)
			defer pprof.StopCPUProfile()
		}
	}
	if err == nil {
		var hold *content.Hold
		if hold, err = content.Fetch(context.Background(), content.Request{Store: spec.S3, Items: spec.Content, Cache: spec.Cache, TaskDir: spec.TaskDir}); err == nil {
			fmt.Println("placed") // a seat starts now
			if err = hold.Keep(); err == nil {
				fmt.Println("kept")
				err = hold.Prepare(context.Background())
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// complete checks that all objects of a shape are below dir.
func complete(dir string, s shape) error {
	count, size := 0, int64(0)
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			count++
			size += info.Size()
		}
		return err
	})
	if err == nil && (count != s.count || size != int64(s.count)*s.size) {
		err = fmt.Errorf("%d files of %d bytes arrived, want %d of %d", count, size, s.count, int64(s.count)*s.size)
	}
	return err
}

// far measures the first and the second seat of a node with a store that is far away, for a job
// that names a prefix, which each seat lists, and for one that names a manifest.
func (b *bench) far(ctx context.Context, s shape) error {
	item := s.source()
	if err := b.farOf(ctx, s, "prefix", item); err != nil {
		return err
	}
	manifest, err := b.store.publish(ctx, s)
	if err != nil {
		return err
	}
	item.Source, item.Manifest = "s3://"+bucket+"/"+s.published()+"/", manifest
	return b.farOf(ctx, s, "manifest", item)
}

func (b *bench) farOf(ctx context.Context, s shape, names string, item wire.Content) error {
	if b.names != "" && b.names != names {
		return nil
	}
	line, err := newLine(ctx, b.store.address, b.rtt)
	if err != nil {
		return err
	}
	defer line.close()
	var first, second, opened []float64
	for round := range b.rounds {
		dir, err := os.MkdirTemp(b.dir, "far-")
		if err != nil {
			return err
		}
		before := line.opened.Load()
		for i, times := range []*[]float64{&first, &second} {
			task := filepath.Join(dir, fmt.Sprint("task", i))
			if err := os.Mkdir(task, 0o755); err != nil {
				return err
			}
			took, err := b.seat(ctx, line.address(), item, filepath.Join(dir, "cache"), task)
			if err != nil {
				return err
			}
			if err := complete(task, s); err != nil {
				return err
			}
			if i == 0 {
				opened = append(opened, float64(line.opened.Load()-before))
			}
			say("%s by %s, round %d, seat %d: %v, processor %v", s.name, names, round+1, i+1, took.wall, took.cpu)
			*times = append(*times, took.wall.Seconds())
		}
	}
	labels := map[string]any{"shape": s.name, "by": names, "rtt_ms": b.rtt.Milliseconds()}
	return errors.Join(
		b.report.Line("first_seat", "s", first, labels),
		b.report.Line("second_seat", "s", second, labels),
		b.report.Line("connections", "", opened, labels),
	)
}
