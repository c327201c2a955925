package wire

import "encoding/json"

// CheckArg makes the driver plugin check a task, without Nomad: it reads a TaskCheck as
// JSON from standard input, and writes a TaskVerdict.
const CheckArg = "check-task"

// TaskCheck is what the driver would get of a task.
type TaskCheck struct {
	Config json.RawMessage `json:"config"`
	User   string          `json:"user,omitempty"`
	// GPU is whether the task reserves a device GPUSeat.
	GPU bool `json:"gpu,omitempty"`
	// Params is the job's meta of that name.
	Params string `json:"params,omitempty"`
}

// TaskVerdict is what a seat of the task would complain of.
type TaskVerdict struct {
	Problems []string `json:"problems,omitempty"`
	// Needs are what each node's operator must allow.
	Needs []string `json:"needs,omitempty"`
}
