package dev

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// Ports are the TCP ports of a cluster. Those of serf are UDP ports too.
type Ports struct {
	Router     int `json:"router"`
	Brain      int `json:"brain"`
	S3         int `json:"s3"`
	Consul     int `json:"consul"`
	ConsulRPC  int `json:"consul_rpc"`
	ConsulSerf int `json:"consul_serf"`
	ConsulWAN  int `json:"consul_wan"`
	Nomad      int `json:"nomad"`
	NomadRPC   int `json:"nomad_rpc"`
	NomadSerf  int `json:"nomad_serf"`
	// NomadClient is the HTTP API of the client agent; Nomad is the server's.
	NomadClient int `json:"nomad_client"`
	// RouterInternal and BrainInternal are for the site's own processes.
	RouterInternal int `json:"router_internal"`
	BrainInternal  int `json:"brain_internal"`
	Console        int `json:"console"`
}

// DefaultPort is the router's port in a dev cluster; the others follow it.
const DefaultPort = 7700

// PortsFrom are fourteen ports in a row, the router's first.
func PortsFrom(first int) Ports {
	var p Ports
	for i, port := range p.all() {
		*port.number = first + i
	}
	return p
}

// FreePorts are ports that nothing listens on now. They are for tests, which run
// beside each other.
func FreePorts() (Ports, error) {
	var p Ports
	for _, port := range p.all() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return p, fmt.Errorf("find a free port: %w", err)
		}
		// Open until all are found, so that all differ.
		defer l.Close()
		*port.number = l.Addr().(*net.TCPAddr).Port
	}
	return p, nil
}

type namedPort struct {
	name   string
	number *int
}

func (p *Ports) all() []namedPort {
	return []namedPort{
		{"router", &p.Router}, {"brain", &p.Brain}, {"S3", &p.S3},
		{"Consul", &p.Consul}, {"Consul RPC", &p.ConsulRPC}, {"Consul serf", &p.ConsulSerf}, {"Consul WAN", &p.ConsulWAN},
		{"Nomad", &p.Nomad}, {"Nomad RPC", &p.NomadRPC}, {"Nomad serf", &p.NomadSerf}, {"Nomad client", &p.NomadClient},
		{"router internal", &p.RouterInternal}, {"brain internal", &p.BrainInternal}, {"console", &p.Console},
	}
}

// check reports ports that other programs have. A server would say so only in its log.
func (p *Ports) check() error {
	var taken []string
	for _, port := range p.all() {
		l, err := net.Listen("tcp", local(*port.number))
		if err != nil {
			taken = append(taken, fmt.Sprintf("%s (%s%s)", local(*port.number), port.name, listener(*port.number)))
			continue
		}
		l.Close()
	}
	if len(taken) > 0 {
		return fmt.Errorf("other programs use these ports: %s; stop them, or choose others with --port", strings.Join(taken, ", "))
	}
	return nil
}

// listener names the process that listens on a TCP port, as far as this user may
// see it.
func listener(port int) string {
	socket := listenSocket(port)
	processes, _ := procfs.AllProcs()
	for _, p := range processes {
		if files, _ := p.FileDescriptorTargets(); socket != "" && slices.Contains(files, socket) {
			name, _ := p.Comm()
			return fmt.Sprintf(", by %s, pid %d", name, p.PID)
		}
	}
	return ""
}

// listenSocket is a listening socket as the descriptors of its process name it. It
// reads the tables itself: procfs has deprecated its own reader, for one that needs a
// kernel module.
func listenSocket(port int) (socket string) {
	const listening = "0A"
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == listening && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				socket = "socket:[" + f[9] + "]"
			}
		}
	}
	return socket
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
