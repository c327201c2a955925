package wire

import "time"

// NodeService is the Consul service name of stream nodes. Each node's registrar, which is
// part of the driver, registers its node. Consul knows the node's name from its agent.
const NodeService = "nearcast-node"

// FeedPath is where a brain's internal listener takes the feed of a node: a WebSocket on
// which the node's registrar tells of its seats (internal/feed, a Seat an item, by its ID).
const FeedPath = "/v1/feed"

// In the driver's run directory, for root alone: a Unix socket that answers GET
// NodeSeatsPath with a JSON object of the node's seats by ID. The node's drain asks it.
const (
	NodeSocket    = "node.sock"
	NodeSeatsPath = "/seats"
)

// LoadClass says in a word how much a node has left. It follows from the scarcest of CPU,
// memory and GPU: its processors, its encoder and the encoder's sessions, and its memory.
type LoadClass string

const (
	LoadCalm LoadClass = "calm" // less than 60 % is in use
	LoadBusy LoadClass = "busy"
	LoadFull LoadClass = "full" // 85 % or more
	// LoadLeaving is no load: the cloud advises to leave the node, which it may take soon (LeavingFile).
	LoadLeaving LoadClass = "leaving"
)

// LeavingFile is the file in the driver's run directory in which the node's drain tells the registrar
// that the cloud advises to leave the node (Leaving). While it does, the file is written anew every
// few seconds, and what is older than LeavingFor counts as nothing: the drain has ended.
const (
	LeavingFile = "leaving.json"
	LeavingFor  = 30 * time.Second
)

// Leaving is the cloud's advice to leave a node.
type Leaving struct {
	At time.Time `json:"at"`
}

// Rank orders classes, the one whose seats people get first before the others. One that is not known counts as calm, so that it keeps
// nobody from a seat.
func (c LoadClass) Rank() int {
	switch c {
	case LoadBusy:
		return 1
	case LoadFull:
		return 2
	case LoadLeaving:
		return 3
	}
	return 0
}

// Node is what a stream node says of itself in Consul. It is written when its class or its
// addresses change, so the figures are those of that moment.
type Node struct {
	Name string `json:"name"` // of the Consul agent
	// Key is the fingerprint of the registrar's public key (internal/identity).
	Key string `json:"key"`
	// Media is where the node's seats take media: addresses and UDP ports, such as
	// "203.0.113.7:20000-20999". TURN servers relay there and nowhere else.
	Media []string          `json:"media,omitempty"`
	Class LoadClass         `json:"class"`
	Seats map[SeatState]int `json:"seats,omitempty"`
	// CPU, Memory and GPU are what is in use, 0..1. GPU is that of the GPU or encoder that is used most, and 0
	// where nobody tells: the kernel, or NVML by the device plugin (GPUs).
	CPU    float64 `json:"cpu"`
	Memory float64 `json:"memory"`
	GPU    float64 `json:"gpu"`
	// GPUMemory is of the GPU that has the least left, and EncoderSessions are those of all GPUs' encoders.
	GPUMemory       float64 `json:"gpu_memory,omitempty"`
	EncoderSessions int     `json:"encoder_sessions,omitempty"`
	// Pool is the node's Nomad pool, as the driver's plugin configuration says it; empty is not known.
	Pool string `json:"pool,omitempty"`
	// MHz and MemoryMB are what the node has in all.
	MHz      int `json:"mhz,omitempty"`
	MemoryMB int `json:"memory_mb,omitempty"`
	// Healthy says that the registrar lives.
	Healthy bool `json:"healthy"`
}

// SeatStates are all states, in the order of a seat's life.
var SeatStates = []SeatState{SeatStarting, SeatIdle, SeatClaimed, SeatStreaming, SeatDetached, SeatEnding}
