package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/testkit"
)

// server is a program that the replay runs. It ends with the replay, also where that is killed.
type server struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// spawn starts a program, with its output in a file of the folder.
func spawn(dir, name string, env []string, argv ...string) (*server, error) {
	s := &server{cmd: exec.Command(argv[0], argv[1:]...), log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	s.cmd.Env = append(testkit.Environ(), env...)
	s.cmd.Stdout, s.cmd.Stderr = out, out
	// A group of its own: Ctrl-C reaches the replay alone, which ends all in order.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the signal at the parent's death is of the thread
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.cmd.Wait()
			close(s.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return s, nil
}

// alive is an error where the program has ended.
func (s *server) alive() error {
	select {
	case <-s.done:
		text, _ := os.ReadFile(s.log)
		return fmt.Errorf("%s has ended; the end of its log: %s", s.cmd.Path, text[max(0, len(text)-1500):])
	default:
		return nil
	}
}

// end asks the program to end, and kills its group.
func (s *server) end() {
	if s == nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(3 * time.Second):
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.done
}

// freePorts are n ports of loopback that nobody has now.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// wait tries something until it has no error.
func wait(ctx context.Context, within time.Duration, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; last: %w", what, ctx.Err(), err)
		}
	}
}

// fetch reads a page.
func fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(io.LimitReader(res.Body, 1<<20))
}

func (l *live) startConsul(ctx context.Context) error {
	tool, err := testkit.FindTool("consul")
	if err != nil {
		return err
	}
	p, err := freePorts(4)
	if err != nil {
		return err
	}
	l.consul = fmt.Sprintf("127.0.0.1:%d", p[0])
	s, err := spawn(l.dir, "consul", nil, tool, "agent", "-dev", "-node=site", "-bind=127.0.0.1", "-log-level=warn",
		fmt.Sprintf("-http-port=%d", p[0]), fmt.Sprintf("-server-port=%d", p[1]), fmt.Sprintf("-serf-lan-port=%d", p[2]),
		fmt.Sprintf("-serf-wan-port=%d", p[3]), "-grpc-port=-1", "-grpc-tls-port=-1", "-dns-port=-1", "-hcl=disable_update_check = true")
	if err != nil {
		return err
	}
	l.servers = append(l.servers, s)
	return wait(ctx, time.Minute, "consul is ready", func() error {
		text, err := fetch(ctx, "http://"+l.consul+"/v1/health/node/site")
		if err == nil && !bytes.Contains(text, []byte("serfHealth")) {
			err = errors.Join(errors.New("it has not settled"), s.alive())
		}
		return err
	})
}

// agentConfig is what all Nomad agents have.
const agentConfig = `
name                 = %q
data_dir             = %q
bind_addr            = "127.0.0.1"
log_level            = "WARN"
disable_update_check = true
advertise {
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}
consul {
  address          = "127.0.0.1:1" # nothing listens there
  auto_advertise   = false
  client_auto_join = false
  server_auto_join = false
}
`

// agent starts a Nomad agent.
func (l *live) agent(name, config string, env ...string) (*server, error) {
	tool, err := testkit.FindTool("nomad")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(l.dir, name+".hcl")
	if err := os.WriteFile(file, []byte(fmt.Sprintf(agentConfig, name, filepath.Join(l.dir, name))+config), 0o600); err != nil {
		return nil, err
	}
	return spawn(l.dir, name, env, tool, "agent", "-config="+file)
}

func (l *live) startNomad(ctx context.Context) error {
	p, err := freePorts(3)
	if err != nil {
		return err
	}
	l.nomadAddress, l.nomadRPC = fmt.Sprintf("http://127.0.0.1:%d", p[0]), fmt.Sprintf("127.0.0.1:%d", p[1])
	s, err := l.agent("server", fmt.Sprintf(`
ports {
  http = %d
  rpc  = %d
  serf = %d
}
server {
  enabled          = true
  bootstrap_expect = 1
  raft_multiplier  = 1
}
`, p[0], p[1], p[2]))
	if err != nil {
		return err
	}
	l.servers = append(l.servers, s)
	if l.nomad, err = api.NewClient(&api.Config{Address: l.nomadAddress, TLSConfig: &api.TLSConfig{}}); err != nil {
		return err
	}
	return wait(ctx, time.Minute, "Nomad's server is ready", func() error {
		// A client that asks before the server has its keys waits 15 s to ask again.
		text, err := fetch(ctx, l.nomadAddress+"/.well-known/jwks.json")
		if err == nil && !bytes.Contains(text, []byte(`"kid"`)) {
			err = errors.Join(errors.New("it has no keys yet"), s.alive())
		}
		return err
	})
}

// What a seat asks for, and a node has for each of its seats.
const seatCPU, seatMemory = 1000, 64

// startNode starts a Nomad client of a pool. It learns its instance's id as on EC2.
func (l *live) startNode(pool, id, metadata string) (s *server, address string, err error) {
	p, err := freePorts(1)
	if err != nil {
		return nil, "", err
	}
	streams := ""
	if l.streams != nil {
		streams = l.streams(id)
	}
	s, err = l.agent(id, fmt.Sprintf(`
ports {
  http = %d
}
client {
  enabled                 = true
  servers                 = [%q]
  node_class              = %q
  node_pool               = %q
  network_interface       = "lo"
  cpu_total_compute       = %d
  memory_total_mb         = %d
  gc_disk_usage_threshold = 99
  options = {
    "driver.allowlist"     = "raw_exec,stream"
    "fingerprint.denylist" = "env_gce,env_azure,env_digitalocean,bridge,cni,plugins_cni,landlock,consul,vault"
  }
}
plugin "raw_exec" {
  config {
    enabled = true
  }
}
`, p[0], l.nomadRPC, pool, pool, l.seats*seatCPU, l.seats*seatMemory)+streams, "AWS_EC2_METADATA_SERVICE_ENDPOINT="+metadata)
	return s, fmt.Sprintf("http://127.0.0.1:%d", p[0]), err
}

// registerJob makes the pool, and the job of which each person is a dispatch: as the brain
// dispatches seats, and with nothing but "sleep" for a stream.
func (l *live) registerJob(ctx context.Context, pool string) error {
	w := (&api.WriteOptions{}).WithContext(ctx)
	if _, err := l.nomad.NodePools().Register(&api.NodePool{Name: pool}, w); err != nil {
		return fmt.Errorf("make the node pool: %w", err)
	}
	job := strings.NewReplacer("POOL", pool, "CPU", fmt.Sprint(seatCPU), "MEMORY", fmt.Sprint(seatMemory)).Replace(`
job "POOL" {
  type        = "batch"
  datacenters = ["*"]
  node_pool   = "POOL"
  parameterized {
    meta_required = ["seconds"]
  }
  group "seat" {
    restart {
      attempts = 0
      mode     = "fail"
    }
    reschedule {
      attempts  = 0
      unlimited = false
    }
    ephemeral_disk {
      size = 10
    }
    task "seat" {
      driver       = "raw_exec"
      kill_timeout = "1s"
      config {
        command = "/bin/sleep"
        args    = ["${NOMAD_META_seconds}"]
      }
      logs {
        disabled      = true
        max_files     = 1
        max_file_size = 1
      }
      resources {
        cpu    = CPU
        memory = MEMORY
      }
    }
  }
}`)
	parsed, err := l.nomad.Jobs().ParseHCL(job, true)
	if err != nil {
		return fmt.Errorf("parse the job: %w", err)
	}
	if _, _, err := l.nomad.Jobs().Register(parsed, w); err != nil {
		return fmt.Errorf("register the job: %w", err)
	}
	return nil
}

// encode writes JSON.
func encode(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
