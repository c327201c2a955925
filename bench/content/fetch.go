package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
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

// beside measures nearcast and s5cmd in turn.
func (b *bench) beside(ctx context.Context, s shape) error {
	times := map[string][]float64{}
	for round := range b.rounds {
		who := []string{"nearcast", "s5cmd"}
		if round%2 == 1 {
			who = []string{"s5cmd", "nearcast"}
		}
		took := map[string]float64{}
		for _, name := range who {
			if name == "s5cmd" && b.peer == "" {
				continue
			}
			d, err := b.once(ctx, name, s)
			if err != nil {
				return err
			}
			took[name] = d.Seconds()
			times[name] = append(times[name], d.Seconds())
		}
		labels := map[string]any{"shape": s.name, "round": round + 1, "nearcast_s": took["nearcast"]}
		if b.peer != "" {
			labels["s5cmd_s"] = took["s5cmd"]
			if err := b.report.Value("speed", "x s5cmd", took["s5cmd"]/took["nearcast"], labels); err != nil {
				return err
			}
		}
	}
	for who, samples := range times {
		if err := b.report.Line("fetch", "s", samples, map[string]any{"shape": s.name, "who": who}); err != nil {
			return err
		}
	}
	return nil
}

// once is one fetch into an empty folder.
func (b *bench) once(ctx context.Context, who string, s shape) (time.Duration, error) {
	dir, err := os.MkdirTemp(b.dir, who+"-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	task := filepath.Join(dir, "task")
	if err := os.Mkdir(task, 0o755); err != nil {
		return 0, err
	}
	var took time.Duration
	if who == "s5cmd" {
		unix.Sync()
		took, err = timed(exec.CommandContext(ctx, b.peer, "--endpoint-url", "http://"+b.store.address, "cp", "s3://"+bucket+"/"+s.name+"/*", task+"/"))
	} else {
		took, err = b.seat(ctx, b.store.address, s, filepath.Join(dir, "cache"), task)
	}
	if err != nil {
		return 0, err
	}
	return took, complete(task, s)
}

// seat fetches as a seat of a node does.
func (b *bench) seat(ctx context.Context, store string, s shape, cache, task string) (time.Duration, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	raw, err := json.Marshal(wire.Spec{
		S3:      wire.S3{Endpoint: "http://" + store, Region: region, PathStyle: true},
		Content: []wire.Content{{Source: "s3://" + bucket + "/" + s.name + "/", Destination: "."}},
		Cache:   wire.Cache{Dir: cache}, TaskDir: task,
	})
	if err != nil {
		return 0, err
	}
	unix.Sync()
	return timed(exec.CommandContext(ctx, self, fetchArg, string(raw)))
}

// timed runs a process to its end.
func timed(cmd *exec.Cmd) (time.Duration, error) {
	var out bytes.Buffer
	cmd.Stderr = &out
	cmd.Env = environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, tail(out.Bytes()))
	}
	return time.Since(start), err
}

func tail(b []byte) []byte { return b[max(0, len(b)-500):] }

// fetchChild is the process that fetches.
func fetchChild(args []string) int {
	var spec wire.Spec
	err := errors.New("internal: one argument is needed")
	if len(args) == 1 {
		err = json.Unmarshal([]byte(args[0]), &spec)
	}
	if err == nil {
		_, err = content.Fetch(context.Background(), content.Request{Store: spec.S3, Items: spec.Content, Cache: spec.Cache, TaskDir: spec.TaskDir})
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

// far measures the first and the second seat of a node with a store that is far away.
func (b *bench) far(ctx context.Context, s shape) error {
	line, err := newLine(ctx, b.store.address, b.rtt)
	if err != nil {
		return err
	}
	defer line.close()
	var first, second, opened []float64
	for round := range b.rounds {
		err := func() error {
			dir, err := os.MkdirTemp(b.dir, "far-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			before := line.opened.Load()
			for i, times := range []*[]float64{&first, &second} {
				task := filepath.Join(dir, fmt.Sprint("task", i))
				if err := os.Mkdir(task, 0o755); err != nil {
					return err
				}
				took, err := b.seat(ctx, line.address(), s, filepath.Join(dir, "cache"), task)
				if err != nil {
					return err
				}
				if err := complete(task, s); err != nil {
					return err
				}
				if i == 0 {
					opened = append(opened, float64(line.opened.Load()-before))
				}
				say("%s, round %d, seat %d: %v", s.name, round+1, i+1, took)
				*times = append(*times, took.Seconds())
			}
			return nil
		}()
		if err != nil {
			return err
		}
	}
	labels := map[string]any{"shape": s.name, "rtt_ms": b.rtt.Milliseconds()}
	return errors.Join(
		b.report.Line("first_seat", "s", first, labels),
		b.report.Line("second_seat", "s", second, labels),
		b.report.Line("connections", "", opened, labels),
	)
}
