package driver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// Two apps with as much content. The nodes fetch that of one ahead: its first seat starts
// without a request for the files. How soon seats are ready is only logged.
func TestPrefetch(t *testing.T) {
	store := testkit.StartS3(t, "us-east-1", "content")
	count := &counter{to: strings.TrimPrefix(store.URL, "http://")}
	proxy := count.start(t)
	a := newAgent(t, fmt.Sprintf("s3 {\n endpoint = %q\n region = %q\n path_style = true\n }", proxy, store.Region),
		"AWS_ACCESS_KEY_ID="+os.Getenv("AWS_ACCESS_KEY_ID"), "AWS_SECRET_ACCESS_KEY="+os.Getenv("AWS_SECRET_ACCESS_KEY"), "AWS_EC2_METADATA_DISABLED=true")
	if !a.real {
		t.Skip("needs the real stream host")
	}
	nearcast := filepath.Join(a.dir, "nearcast")
	testkit.Must(t, a.build(nearcast, "cmd/nearcast"))
	data := make([]byte, 64<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	settings, err := config.LoadDefaultConfig(t.Context(), config.WithRegion(store.Region))
	testkit.Must(t, err)
	client := s3.NewFromConfig(settings, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = &store.URL, true })
	for _, app := range []string{"ahead", "cold"} {
		for i, part := range [][]byte{data[:48<<20], data[48<<20 : 50<<20], data[50<<20:]} {
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("content"), Key: aws.String(fmt.Sprintf("%s/%d", app, i)), Body: bytes.NewReader(part)})
			testkit.Must(t, err)
		}
		a.app(app)
	}

	before := count.bytes.Load()
	cmd := exec.Command(nearcast, "app", "prefetch", "ahead", "--nomad", "http://"+a.Address, "--namespace", "default", "--wait", "2m")
	cmd.Env = testkit.Environ()
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	testkit.Must(t, err)
	if !strings.Contains(string(out), "complete") {
		t.Error("no node is named")
	}
	if got := count.bytes.Load() - before; got < int64(len(data)) {
		t.Errorf("the node fetched %d bytes", got)
	}
	cached, err := os.ReadDir(filepath.Join(a.dir, "cache", "objects"))
	if err != nil || len(cached) != 3 {
		t.Errorf("in the cache: %v, %v", cached, err)
	}

	took := map[string]time.Duration{}
	fetched := map[string]int64{}
	for _, app := range []string{"cold", "ahead"} {
		before, start := count.bytes.Load(), time.Now()
		a.must("job", "dispatch", "-detach", app)
		a.ready(app)
		took[app], fetched[app] = time.Since(start), count.bytes.Load()-before
	}
	t.Logf("a first seat was ready after %v, and where its content was fetched ahead after %v", took["cold"], took["ahead"])
	if fetched["cold"] < int64(len(data)) || fetched["ahead"] > 100_000 { // the listing
		t.Errorf("seats fetched %v bytes", fetched)
	}

	// Again: nothing is left to fetch.
	before = count.bytes.Load()
	cmd = exec.Command(nearcast, "app", "prefetch", "ahead", "--nomad", "http://"+a.Address, "--namespace", "default", "--wait", "2m", "--json")
	cmd.Env = testkit.Environ()
	out, err = cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"status": "complete"`) || count.bytes.Load()-before > 100_000 {
		t.Errorf("again: %v, %d bytes\n%s", err, count.bytes.Load()-before, out)
	}
	t.Run("revert", func(t *testing.T) { a.reverts(t, nearcast, store.URL, store.Region) })
	// An app without content, and a job that is no app.
	for _, c := range []struct{ job, says string }{{"ahead-prefetch", "is no app"}, {"none", "read job none"}} {
		cmd := exec.Command(nearcast, "app", "prefetch", c.job, "--nomad", "http://"+a.Address, "--namespace", "default")
		cmd.Env = testkit.Environ()
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), c.says) {
			t.Errorf("prefetch %s: %v\n%s", c.job, err, out)
		}
	}
	t.Run("by itself", func(t *testing.T) { a.followed(t, nearcast, client, count) })
	t.Run("the disk fails", func(t *testing.T) { a.diskFails(t, "cold") })
}

// followed registers an app while nearcast app prefetch --follow runs: its node has the content before
// anybody asks for a seat. Another follower does not fetch it again, though Nomad has forgotten the jobs.
func (a *agent) followed(t *testing.T, nearcast string, client *s3.Client, count *counter) {
	data := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(data)
	for _, key := range []string{"new/1", "later/1"} {
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("content"), Key: aws.String(key), Body: bytes.NewReader(data)})
		testkit.Must(t, err)
	}
	a.must("namespace", "apply", wire.FetchNamespace)
	follow := func() (end func()) {
		cmd := exec.Command(nearcast, "app", "prefetch", "--follow", "--every", "100ms", "--nomad", "http://"+a.Address, "--namespace", "default")
		cmd.Env, cmd.Stderr = testkit.Environ(), t.Output()
		testkit.Must(t, cmd.Start())
		end = sync.OnceFunc(func() {
			testkit.Must(t, cmd.Process.Signal(os.Interrupt))
			testkit.Must(t, cmd.Wait())
		})
		t.Cleanup(end)
		return end
	}
	jobs := func(app string) (out []struct{ ID string }) {
		testkit.Must(t, a.get("/v1/jobs?namespace="+wire.FetchNamespace+"&prefix="+app+"-prefetch-", &out))
		return out
	}
	noted := func(app string) func() bool {
		return func() bool {
			var record struct{ Items map[string]string }
			return a.get("/v1/var/nearcast/prefetch?namespace="+wire.FetchNamespace, &record) == nil && record.Items[app] != ""
		}
	}
	end := follow()
	before := count.bytes.Load()
	a.app("new")
	testkit.Until(t, "its node has fetched it", noted("new"))
	if got := count.bytes.Load() - before; got < int64(len(data)) {
		t.Errorf("the node fetched %d bytes", got)
	}
	if got := jobs("new"); len(got) != 4 {
		t.Errorf("the jobs of its turns are %v", got)
	}
	before = count.bytes.Load()
	a.must("job", "dispatch", "-detach", "new")
	a.ready("new")
	if got := count.bytes.Load() - before; got > 100_000 {
		t.Errorf("its first seat fetched %d bytes", got)
	}
	end()
	testkit.Until(t, "Nomad has forgotten the jobs", func() bool {
		a.must("system", "gc") // it takes what is dead now
		return len(jobs("new")) == 0
	})
	follow()
	a.app("later")
	testkit.Until(t, "its node has fetched the later one", noted("later"))
	if got := jobs("new"); len(got) != 0 {
		t.Errorf("what was fetched is fetched again: %v", got)
	}
}

// counter is a TCP proxy that counts what it brings.
type counter struct {
	to    string
	bytes atomic.Int64
}

func (c *counter) start(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer near.Close()
				far, err := net.Dial("tcp", c.to)
				if err != nil {
					return
				}
				defer far.Close()
				defer context.AfterFunc(ctx, func() { near.Close(); far.Close() })()
				running.Go(func() {
					_, _ = io.Copy(far, near)
					far.Close()
				})
				_, _ = io.Copy(io.MultiWriter(near, c), far)
			})
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); running.Wait() })
	return "http://" + l.Addr().String()
}

func (c *counter) Write(b []byte) (int, error) {
	c.bytes.Add(int64(len(b)))
	return len(b), nil
}

// app registers an app with content of the bucket.
func (a *agent) app(id string) {
	a.t.Helper()
	a.register(id, fmt.Sprintf(`content {
          source      = "s3://content/%s/"
          destination = "local"
        }`, id))
}

// register registers the test app as an app, with a block of content.
func (a *agent) register(id, content string) {
	a.t.Helper()
	file := filepath.Join(a.dir, id+".nomad.hcl")
	testkit.Must(a.t, os.WriteFile(file, fmt.Appendf(nil, `
job %q {
  type = "batch"
  parameterized {}
  group "app" {
    restart {
      attempts = 0
      mode     = "fail"
    }
    task "seat" {
      driver = "stream"
      config {
        command = %q
        freeze_idle = false
        audio       = false
        display {
          width  = 320
          height = 240
          fps    = 10
        }
        %s
      }
      resources {
        cpu    = 100
        memory = 300
      }
    }
  }
}`, id, filepath.Join(a.dir, "apps", "testapp"), content), 0o644))
	a.must("job", "run", "-detach", file)
}

// ready waits until a seat of an app is ready.
func (a *agent) ready(app string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), time.Minute)
	defer cancel()
	var said []string
	for ctx.Err() == nil {
		var children []struct{ ID string }
		if a.get("/v1/jobs?prefix="+app+"/dispatch", &children) == nil && len(children) > 0 {
			var allocs []allocation
			if a.get("/v1/job/"+strings.ReplaceAll(children[0].ID, "/", "%2F")+"/allocations", &allocs) == nil && len(allocs) > 0 {
				said = a.alloc(allocs[0].ID).messages()
				for _, m := range said {
					if m == "ready" {
						return
					}
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	a.t.Fatalf("no seat of %s is ready: %q", app, said)
}
