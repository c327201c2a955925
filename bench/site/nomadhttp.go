package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-bexpr"
	"github.com/hashicorp/nomad/api"
)

// serve serves the API on a free port of 127.0.0.1.
func (n *fakeNomad) serve() (address string, server *http.Server, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen for nomad: %w", err)
	}
	server = &http.Server{Handler: n, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return listener.Addr().String(), server, nil
}

func (n *fakeNomad) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	// A child's id has a slash in it, which comes escaped.
	path := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/v1/"), "/")
	for i := range path {
		path[i], _ = url.PathUnescape(path[i])
	}
	n.mu.Lock()
	index := n.index
	n.mu.Unlock()
	rw.Header().Set("X-Nomad-Index", strconv.FormatUint(index, 10))
	// Without all three, Nomad's client reads no token of the next page.
	rw.Header().Set("X-Nomad-LastContact", "0")
	rw.Header().Set("X-Nomad-KnownLeader", "true")
	switch {
	case path[0] == "event" && len(path) == 2:
		n.stream(rw, r)
	case path[0] == "jobs" && len(path) == 1:
		n.listJobs(rw, q)
	case path[0] == "allocations" && len(path) == 1:
		n.listAllocs(rw, q)
	case path[0] == "evaluations":
		answer(rw, []any{})
	case path[0] == "namespace" || path[0] == "namespaces":
		answer(rw, map[string]string{"Name": namespace})
	case path[0] == "job" && len(path) == 3 && path[2] == "dispatch":
		child, ok := n.dispatch(path[1], q.Get("idempotency_token"))
		if !ok {
			http.Error(rw, "job not found", http.StatusInternalServerError)
			return
		}
		answer(rw, map[string]any{"DispatchedJobID": child, "EvalID": "", "Index": index})
	case path[0] == "job" && len(path) == 3:
		n.ofJob(rw, path[1], path[2])
	case path[0] == "job" && len(path) == 2 && r.Method == http.MethodDelete:
		if !n.stop(path[1]) {
			http.Error(rw, "job not found", http.StatusNotFound)
			return
		}
		answer(rw, map[string]any{"EvalID": ""})
	case path[0] == "job" && len(path) == 2:
		n.mu.Lock()
		j, ok := n.jobs[path[1]]
		var copied job
		if ok {
			copied = *j
		}
		n.mu.Unlock()
		if !ok || q.Get("namespace") != namespace {
			http.Error(rw, "job not found", http.StatusNotFound)
			return
		}
		answer(rw, copied)
	default:
		http.Error(rw, "the benchmark's Nomad does not have "+r.URL.Path, http.StatusNotFound)
	}
}

func answer(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(v)
}

// ofJob lists the allocations or evaluations of a job.
func (n *fakeNomad) ofJob(rw http.ResponseWriter, id, what string) {
	out := []any{}
	n.mu.Lock()
	if a := n.allocs[id]; a != nil && what == "allocations" {
		out = append(out, *a)
	}
	n.mu.Unlock()
	answer(rw, out)
}

func (n *fakeNomad) listJobs(rw http.ResponseWriter, q url.Values) {
	if q.Get("namespace") != namespace {
		answer(rw, []any{})
		return
	}
	n.mu.Lock()
	list := make([]*api.JobListStub, 0, len(n.jobs))
	for id, j := range n.jobs {
		if !strings.HasPrefix(id, q.Get("prefix")) {
			continue
		}
		stub := &api.JobListStub{ID: id, ParentID: j.ParentID, Name: j.Name, Namespace: namespace, Type: j.Type, Status: j.Status, Stop: j.Stop,
			ParameterizedJob: j.ParameterizedJob != nil, SubmitTime: j.SubmitTime, CreateIndex: j.CreateIndex, ModifyIndex: j.ModifyIndex,
			JobModifyIndex: j.JobModifyIndex}
		if q.Get("meta") == "true" {
			stub.Meta = j.Meta
		}
		list = append(list, stub)
	}
	n.mu.Unlock()
	page(rw, q, list, func(s *api.JobListStub) string { return s.ID })
}

func (n *fakeNomad) listAllocs(rw http.ResponseWriter, q url.Values) {
	if q.Get("namespace") != namespace {
		answer(rw, []any{})
		return
	}
	n.mu.Lock()
	list := make([]alloc, 0, len(n.allocs))
	for _, a := range n.allocs {
		if strings.HasPrefix(a.ID, q.Get("prefix")) {
			list = append(list, *a)
		}
	}
	n.mu.Unlock()
	page(rw, q, list, func(a alloc) string { return a.ID })
}

// page answers with what the query's filter lets through, in pages if the query says so.
func page[T any](rw http.ResponseWriter, q url.Values, list []T, id func(T) string) {
	if text := q.Get("filter"); text != "" {
		evaluator, err := bexpr.CreateEvaluator(text)
		if err != nil {
			http.Error(rw, "failed to read filter expression: "+err.Error(), http.StatusBadRequest)
			return
		}
		list = slices.DeleteFunc(list, func(item T) bool {
			ok, err := evaluator.Evaluate(item)
			return err != nil || !ok
		})
	}
	slices.SortFunc(list, func(a, b T) int { return strings.Compare(id(a), id(b)) })
	if from := q.Get("next_token"); from != "" {
		at, _ := slices.BinarySearchFunc(list, from, func(item T, from string) int { return strings.Compare(id(item), from) })
		list = list[at:]
	}
	if size, _ := strconv.Atoi(q.Get("per_page")); size > 0 && len(list) > size {
		rw.Header().Set("X-Nomad-NextToken", id(list[size]))
		list = list[:size]
	}
	answer(rw, list)
}

// stream serves the event stream.
func (n *fakeNomad) stream(rw http.ResponseWriter, r *http.Request) {
	from, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	out := http.NewResponseController(rw)
	n.mu.Lock()
	if from == 0 || from > n.index {
		from = n.index + 1
	}
	n.mu.Unlock()
	if _, err := rw.Write([]byte("{}\n")); err != nil || out.Flush() != nil {
		return
	}
	beat := time.NewTicker(10 * time.Second)
	defer beat.Stop()
	for {
		n.mu.Lock()
		at, _ := slices.BinarySearchFunc(n.past, from, func(l line, from uint64) int { return int(int64(l.index) - int64(from)) })
		lines, grown := slices.Clone(n.past[at:]), n.grown
		n.mu.Unlock()
		for _, l := range lines {
			if _, err := rw.Write(l.text); err != nil {
				return
			}
			from = l.index + 1
		}
		if len(lines) > 0 && out.Flush() != nil {
			return
		}
		select {
		case <-grown:
		case <-beat.C:
			if _, err := rw.Write([]byte("{}\n")); err != nil || out.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
