package attack

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Args tells the attacks where their targets are. A real attacker would have to find
// them; who is told fails only at a defence. What is empty was not set up.
type Args struct {
	// Canary is the secret of the other seat, NodeCanary that of the node: texts that
	// are found nowhere else.
	Canary     string `json:"canary,omitempty"`
	NodeCanary string `json:"node_canary,omitempty"`
	// Tag is in the names of all that the attacks leave.
	Tag string `json:"tag,omitempty"`
	// Namespaces are the node's, as /proc/self/ns has them: "pid" → "pid:[4026531836]".
	Namespaces map[string]string `json:"namespaces,omitempty"`
	// User is the uid of the other seat's app.
	User int `json:"user,omitempty"`
	// Targets are processes that are not of this seat.
	Targets []Process `json:"targets,omitempty"`
	// SharedMemory, Queues and Semaphores are the ids of System V objects.
	SharedMemory []Segment `json:"shared_memory,omitempty"`
	Queues       []int     `json:"queues,omitempty"`
	Semaphores   []int     `json:"semaphores,omitempty"`
	// PosixMemory are files in /dev/shm, PosixQueues names for mq_open.
	PosixMemory []string `json:"posix_memory,omitempty"`
	PosixQueues []string `json:"posix_queues,omitempty"`
	// Keys are serial numbers of the other seat's keys in the kernel's keyring.
	Keys []int `json:"keys,omitempty"`
	// Sockets are Unix sockets that are not of this seat; "@" begins an abstract one.
	// SocketScope are beginnings of the names that may be tried where they are found.
	Sockets     []string `json:"sockets,omitempty"`
	SocketScope []string `json:"socket_scope,omitempty"`
	// Control are the stream hosts' control sockets: this seat's and the others'.
	Control []string `json:"control,omitempty"`
	// Loopback and Outside are host:port, on the node's loopback and elsewhere.
	Loopback []string `json:"loopback,omitempty"`
	Outside  []string `json:"outside,omitempty"`
	// Metadata are URLs of the cloud's metadata, or of what stands for it.
	Metadata []string `json:"metadata,omitempty"`
	// RunDirs, TaskDirs, Temporary and Cache are directories and files of the other
	// seat or of the node; NodeFiles are secrets of the node.
	RunDirs   []string `json:"run_dirs,omitempty"`
	TaskDirs  []string `json:"task_dirs,omitempty"`
	Temporary []string `json:"temporary,omitempty"`
	Cache     []string `json:"cache,omitempty"`
	NodeFiles []string `json:"node_files,omitempty"`
	// Content are files of this seat's own content.
	Content []string `json:"content,omitempty"`
	// Displays are X sockets of other seats, Authorities the files with their cookies.
	Displays    []string `json:"displays,omitempty"`
	Authorities []string `json:"authorities,omitempty"`
	// Terminals are those of the node, such as an operator's.
	Terminals []string `json:"terminals,omitempty"`
	// Fonts is a directory with fonts.dir that this app cannot see.
	Fonts string `json:"fonts,omitempty"`
	// Sounds are PulseAudio sockets of other seats.
	Sounds []string `json:"sounds,omitempty"`
	// Plugin is a library that the app brought. Where it is loaded, it writes
	// the namespaces of its process to its own path with ".proof".
	Plugin []byte `json:"plugin,omitempty"`
	// Victim is a file of root that nothing of this seat may change.
	Victim string `json:"victim,omitempty"`
	// MaxProcesses and MaxBytes bound what attacks on the node's resources take.
	MaxProcesses int   `json:"max_processes,omitempty"`
	MaxBytes     int64 `json:"max_bytes,omitempty"`
	// Keep leaves the files that filled a disk.
	Keep bool `json:"keep,omitempty"`
}

// Process names a process so that no other can be taken for it: numbers mean other
// processes in another namespace, and come again.
type Process struct {
	Role  string `json:"role"`
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // field 22 of /proc/PID/stat
	Comm  string `json:"comm"`
}

// Segment is System V shared memory.
type Segment struct {
	Role string `json:"role"`
	ID   int    `json:"id"`
	Size uint64 `json:"size"`
}

func parseArgs(text string) (a Args, err error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if text != "" {
		if err = dec.Decode(&a); err != nil {
			return a, fmt.Errorf("-attack-args: %w", err)
		}
	}
	if a.MaxProcesses == 0 {
		a.MaxProcesses = 2000
	}
	if a.MaxBytes == 0 {
		a.MaxBytes = 512 << 20
	}
	if a.Tag == "" {
		a.Tag = "nearcast-attack"
	}
	return a, nil
}
