package nomad

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// shelf is a Nomad with a node for each first digit of an id. Its tasks end when the test says so.
type shelf struct {
	t      *testing.T
	server *httptest.Server
	mu     sync.Mutex
	nodes  []string
	away   map[string]bool   // nodes that are down
	moved  map[string]uint64 // by node, the index of its last change
	kept   *api.Variable     // what the follower knows of nodes
	jobs   map[string]*api.Job
	index  uint64
	allocs []*api.AllocationListStub
	full   map[string]bool   // nodes without room
	plans  map[string]string // by job, the status of its first evaluation, if not complete
	record *api.Variable
	refuse string // the id of a job that is not taken
	reads  int    // of single jobs
	writes int    // of variables

	before func() // runs once, before a single job is read
	wrong  string // what must not happen
	// The answer to the request after so many others is lost, or else the request.
	until  int
	answer bool
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{t: t, nodes: strings.Split("0123456789abcdef", ""), away: map[string]bool{}, moved: map[string]uint64{}, jobs: map[string]*api.Job{}, full: map[string]bool{}, plans: map[string]string{}, until: -1}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	return s
}

// come has nodes be ready, and leave has them be down.
func (s *shelf) come(nodes string)  { s.set(nodes, false) }
func (s *shelf) leave(nodes string) { s.set(nodes, true) }

func (s *shelf) set(nodes string, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, node := range strings.Fields(nodes) {
		if !slices.Contains(s.nodes, node) {
			s.nodes = append(s.nodes, node)
		}
		s.index++
		s.away[node], s.moved[node] = away, s.index
	}
}

func (s *shelf) put(job *api.Job) {
	s.index++
	version, index, submitted := uint64(0), s.index, time.Now().UnixNano()
	if was := s.jobs[*job.ID]; was != nil {
		version = *was.Version + 1
	}
	job.Version, job.JobModifyIndex, job.SubmitTime = &version, &index, &submitted
	s.jobs[*job.ID] = job
}

// app registers an app, with content if it says from where.
func (s *shelf) app(id, source string, meta map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := api.JobTypeBatch
	config := map[string]any{"command": "viewer"}
	if source != "" {
		config["content"] = []any{map[string]any{"source": source}}
	}
	s.put(&api.Job{ID: &id, Type: &batch, ParameterizedJob: &api.ParameterizedJobConfig{}, Meta: meta,
		TaskGroups: []*api.TaskGroup{{Tasks: []*api.Task{{Name: "seat", Driver: "stream", Config: config}}}}})
}

func (s *shelf) register(req api.JobRegisterRequest) bool {
	was := s.jobs[*req.Job.ID]
	if s.refuse == *req.Job.ID || req.EnforceIndex && (was == nil) != (req.JobModifyIndex == 0) || was != nil && req.EnforceIndex && *was.JobModifyIndex != req.JobModifyIndex {
		return false
	}
	if was != nil {
		s.endAll(was)
	}
	s.put(req.Job)
	if was != nil {
		delete(s.plans, *req.Job.ID)
	}
	s.plan(*req.Job.ID)
	return true
}

// stop stops a job: its index is another one then.
func (s *shelf) stop(id string) {
	s.endAll(s.jobs[id])
	now := *s.jobs[id]
	stopped := true
	now.Stop = &stopped
	s.put(&now)
}

// endAll ends the tasks of a job before they are done.
func (s *shelf) endAll(job *api.Job) {
	app := s.jobs[job.Meta["prefetch_of"]]
	for _, a := range s.allocs {
		if a.JobID == *job.ID && a.ClientStatus == "running" {
			if app != nil && app.Stop == nil && job.Meta["prefetch_index"] == fmt.Sprint(*app.JobModifyIndex) {
				s.wrong = *job.ID + ": a fetch of the present version is stopped"
			}
			a.ClientStatus = "stopped"
		}
	}
}

// plan places a job's tasks where there is room.
func (s *shelf) plan(id string) {
	job := s.jobs[id]
	constraint := regexp.MustCompile(job.Constraints[len(job.Constraints)-1].RTarget)
	for _, node := range s.nodes {
		if !constraint.MatchString(node) || s.full[node] || s.away[node] || s.plans[id] != "" {
			continue
		}
		has := false
		for _, a := range s.allocs {
			has = has || a.JobID == id && a.NodeName == node && a.CreateIndex > *job.JobModifyIndex
		}
		if !has {
			s.index++
			s.allocs = append(s.allocs, &api.AllocationListStub{ID: job.Meta["prefetch_of"] + " " + job.Meta["prefetch_index"], JobID: id, NodeName: node, ClientStatus: "running", CreateIndex: s.index})
		}
	}
}

// running are the tasks that run, as APP INDEX on NODE.
func (s *shelf) running() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.allocs {
		if a.ClientStatus == "running" {
			out = append(out, a.ID+" on "+a.NodeName)
		}
	}
	return out
}

// end ends the first n tasks that run.
func (s *shelf) end(n int, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.allocs {
		if n > 0 && a.ClientStatus == "running" {
			a.ClientStatus = status
			n--
		}
	}
}

// has are the nodes that have the content of an app's present version.
func (s *shelf) has(app string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	nodes := map[string]bool{}
	for _, a := range s.allocs {
		if a.ID == app+" "+fmt.Sprint(*s.jobs[app].JobModifyIndex) && a.ClientStatus == "complete" {
			nodes[a.NodeName] = true
		}
	}
	return len(nodes)
}

// turns are the jobs of an app's turns, with their versions.
func (s *shelf) turns(app string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for n := range waves {
		if j := s.jobs[turnJob(app, n)]; j != nil {
			out = append(out, fmt.Sprintf("%d:v%s", n+1, j.Meta["prefetch_version"]))
		}
	}
	return strings.Join(out, " ")
}

// collect has Nomad forget the jobs that fetched, as after four hours.
func (s *shelf) collect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, j := range s.jobs {
		if *j.Type == api.JobTypeSysbatch && s.status(id) == "dead" {
			delete(s.jobs, id)
		}
	}
}

func (s *shelf) status(id string) string {
	for _, a := range s.allocs {
		if a.JobID == id && a.ClientStatus == "running" {
			return "running"
		}
	}
	if s.waiting(id) > 0 || s.plans[id] == "pending" {
		return "pending"
	}
	return "dead"
}

// waiting is how many nodes have no room for a job.
func (s *shelf) waiting(id string) (n int) {
	job := s.jobs[id]
	constraint := regexp.MustCompile(job.Constraints[len(job.Constraints)-1].RTarget)
	for node := range s.full {
		if constraint.MatchString(node) {
			n++
		}
	}
	return n
}

func (s *shelf) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if before := s.before; before != nil && strings.Count(r.URL.Path, "/") == 3 && strings.HasPrefix(r.URL.Path, "/v1/job/") {
		s.before = nil
		before()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until--; s.until == -1 && !s.answer {
		http.Error(rw, "lost", http.StatusInternalServerError)
		return
	}
	code, answer := s.answerTo(r)
	if s.until == -1 {
		http.Error(rw, "lost", http.StatusInternalServerError)
		return
	}
	if code != http.StatusOK {
		rw.WriteHeader(code)
	}
	json.NewEncoder(rw).Encode(answer)
}

func (s *shelf) answerTo(r *http.Request) (int, any) {
	id, one := strings.CutPrefix(r.URL.Path, "/v1/job/")
	id, of, _ := strings.Cut(id, "/")
	fetches := r.URL.Query().Get("namespace") == wire.FetchNamespace
	switch {
	case strings.HasPrefix(r.URL.Path, "/v1/var/"):
		if !fetches {
			s.wrong = "a variable of apps"
		}
		at := &s.record
		if strings.HasSuffix(r.URL.Path, nodesPath) {
			at = &s.kept
		}
		if r.Method == http.MethodPut {
			index := uint64(0)
			if *at != nil {
				index = (*at).ModifyIndex
			}
			if r.URL.Query().Get("cas") != strconv.FormatUint(index, 10) {
				return http.StatusConflict, *at
			}
			var v api.Variable
			json.NewDecoder(r.Body).Decode(&v)
			s.index++
			v.ModifyIndex, *at = s.index, &v
			s.writes++
		}
		if *at == nil {
			return http.StatusNotFound, nil
		}
		return http.StatusOK, *at
	case r.URL.Path == "/v1/nodes":
		list := []map[string]any{}
		for _, node := range s.nodes {
			status := "ready"
			if s.away[node] {
				status = "down"
			}
			list = append(list, map[string]any{"ID": node, "Status": status, "SchedulingEligibility": "eligible", "ModifyIndex": s.moved[node],
				"Drivers": map[string]any{"stream": map[string]any{"Detected": true, "Healthy": true}}})
		}
		return http.StatusOK, list
	case r.URL.Path == "/v1/namespace/"+wire.FetchNamespace:
		return http.StatusOK, map[string]any{}
	case r.Method == http.MethodDelete:
		if !fetches || s.jobs[id] == nil {
			s.wrong = "stop " + id
		}
		s.stop(id)
		return http.StatusOK, map[string]any{}
	case r.Method == http.MethodPut:
		var req api.JobRegisterRequest
		json.NewDecoder(r.Body).Decode(&req)
		if !fetches || *req.Job.Namespace != wire.FetchNamespace {
			s.wrong = "register " + *req.Job.ID
		}
		if !s.register(req) {
			return http.StatusInternalServerError, "Enforcing job modify index"
		}
		return http.StatusOK, map[string]any{"EvalID": "e1"}
	case one && s.jobs[id] == nil:
		return http.StatusNotFound, "job not found"
	case of == "evaluations" && s.jobs[id].Stop != nil: // those of its begin have another index
		return http.StatusOK, []any{map[string]any{"Status": "complete", "TriggeredBy": "job-deregister", "JobModifyIndex": *s.jobs[id].JobModifyIndex}}
	case of == "evaluations":
		status := s.plans[id]
		if status == "" {
			status = "complete"
		}
		eval := map[string]any{"ID": "e1", "Status": status, "TriggeredBy": "job-register", "JobModifyIndex": *s.jobs[id].JobModifyIndex}
		if n := s.waiting(id); n > 0 {
			eval["FailedTGAllocs"] = map[string]any{"fetch": map[string]any{"NodesExhausted": n, "CoalescedFailures": n - 1}}
		}
		return http.StatusOK, []any{map[string]any{"Status": "complete", "TriggeredBy": "job-register", "JobModifyIndex": 1}, eval}
	case of == "allocations":
		list := []*api.AllocationListStub{}
		for _, a := range s.allocs {
			if a.JobID == id {
				list = append(list, a)
			}
		}
		return http.StatusOK, list
	case one:
		s.reads++
		return http.StatusOK, s.jobs[id]
	}
	list := []map[string]any{}
	for id, j := range s.jobs {
		if fetches != (j.Namespace != nil) {
			continue
		}
		stub := map[string]any{"ID": id, "Type": *j.Type, "ParameterizedJob": j.ParameterizedJob != nil, "JobModifyIndex": *j.JobModifyIndex, "SubmitTime": *j.SubmitTime, "Meta": j.Meta, "Stop": j.Stop != nil}
		if *j.Type == api.JobTypeSysbatch {
			stub["Status"] = s.status(id)
		}
		list = append(list, stub)
	}
	return http.StatusOK, list
}
