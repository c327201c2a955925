package nomad

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"github.com/hashicorp/nomad/api"
	"golang.org/x/sync/errgroup"
)

// atOnce is how many questions about single jobs are asked at once.
const atOnce = 8

// stub is what a list says of a job.
type stub struct {
	ID, ParentID                             string
	ParameterizedJob, Stop                   bool
	CreateIndex, ModifyIndex, JobModifyIndex uint64
	SubmitTime                               int64
	JobSummary                               struct {
		Summary map[string]struct{ Complete, Failed, Lost int }
	}
}

// finished reports whether an allocation of the job has ended.
func (s stub) finished() bool {
	for _, g := range s.JobSummary.Summary {
		if g.Complete+g.Failed+g.Lost > 0 {
			return true
		}
	}
	return false
}

// tables is what lives in Nomad's tables.
type tables struct {
	index    uint64 // what was registered up to it is in the tables
	apps     map[string]mirrored
	children []stub
	allocs   []alloc      // of children; of all that live, if one of them was not known
	blocked  []evaluation // of children without an allocation, likewise
	// vanished are the children that were known and do not live any more, with their
	// newest allocation; nil where Nomad has none.
	vanished map[string]*alloc
}

// known is what the mirror has when the tables are read.
type known struct {
	apps     map[string]mirrored
	children map[string]bool // whether it takes them for living
	last     uint64          // the index of the last event
	gap      bool            // events were missed, so that allocations may have changed
}

// pages reads all pages of a list, and returns the index of the first.
func pages[T any](c *Client, path string, q *api.QueryOptions, perPage int32, out *[]T) (index uint64, err error) {
	q.PerPage = perPage
	for first := true; ; first = false {
		var page []T
		meta, err := c.api.Raw().Query(path, &page, q)
		if err != nil {
			return 0, err
		}
		if first {
			index = meta.LastIndex
		}
		*out = append(*out, page...)
		if meta.NextToken == "" {
			return index, nil
		}
		q.NextToken = meta.NextToken
	}
}

// read reads what lives in Nomad's tables: a page of a list for a thousand children,
// and a question for each app that changed. Allocations are not read where no event was
// missed.
func (c *Client) read(ctx context.Context, k known) (*tables, error) {
	t := &tables{apps: map[string]mirrored{}, vanished: map[string]*alloc{}}
	var all []stub
	q := query(ctx)
	q.Filter = `Type == "batch" and Status != "dead"`
	var err error
	if t.index, err = pages(c, "/v1/jobs", q, c.jobsPerPage, &all); err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	if err := c.readApps(ctx, all, k, t); err != nil {
		return nil, err
	}
	if err := c.readChildren(ctx, all, t); err != nil {
		return nil, err
	}
	living := make(map[string]struct{}, len(t.children))
	for _, s := range t.children {
		living[s.ID] = struct{}{}
		if _, ok := k.children[s.ID]; !ok && s.CreateIndex <= k.last {
			k.gap = true
		}
	}
	if k.gap {
		if err := c.readAllocs(ctx, t); err != nil {
			return nil, err
		}
	}
	return t, c.readVanished(ctx, k, living, t)
}

// readApps reads the jobs that are apps, if they changed.
func (c *Client) readApps(ctx context.Context, all []stub, k known, t *tables) error {
	var mu sync.Mutex
	var asks errgroup.Group
	asks.SetLimit(atOnce)
	for _, s := range all {
		if !s.ParameterizedJob || s.ParentID != "" {
			continue
		}
		if app, ok := k.apps[s.ID]; ok && app.registered == s.JobModifyIndex {
			mu.Lock()
			t.apps[s.ID] = app
			mu.Unlock()
			continue
		}
		asks.Go(func() error {
			var j job
			_, err := c.api.Raw().Query("/v1/job/"+url.PathEscape(s.ID), &j, query(ctx))
			if status(err) == http.StatusNotFound {
				return nil
			} else if err != nil {
				return fmt.Errorf("read job %s: %w", s.ID, err)
			}
			if app, ok := c.app(j); ok {
				mu.Lock()
				defer mu.Unlock()
				t.apps[s.ID] = mirrored{app, j.ModifyIndex, j.JobModifyIndex}
			}
			return nil
		})
	}
	return asks.Wait()
}

// readChildren picks the jobs that are seats. Whether children are seats whose parent
// is no app any more, one of them tells.
func (c *Client) readChildren(ctx context.Context, all []stub, t *tables) error {
	ours := map[string]bool{}
	for _, s := range all {
		if s.ParentID == "" {
			continue
		}
		seat, known := ours[s.ParentID]
		if _, app := t.apps[s.ParentID]; app {
			seat = true
		} else if !known {
			var j job
			_, err := c.api.Raw().Query("/v1/job/"+url.PathEscape(s.ID), &j, query(ctx))
			if status(err) == http.StatusNotFound {
				continue
			} else if err != nil {
				return fmt.Errorf("read job %s: %w", s.ID, err)
			}
			seat = j.Dispatched && c.ours(j)
			ours[s.ParentID] = seat
		}
		if seat {
			t.children = append(t.children, s)
		}
	}
	return nil
}

// readAllocs reads the allocations that live, why children have none, and how those
// ended whose job is not dead yet.
func (c *Client) readAllocs(ctx context.Context, t *tables) error {
	q := query(ctx)
	q.Filter = `ClientStatus != "complete" and ClientStatus != "failed" and ClientStatus != "lost"`
	if _, err := pages(c, "/v1/allocations", q, c.allocsPerPage, &t.allocs); err != nil {
		return fmt.Errorf("list allocations: %w", err)
	}
	placed := make(map[string]struct{}, len(t.allocs))
	for _, a := range t.allocs {
		placed[a.JobID] = struct{}{}
	}
	var finished []string
	waiting := false
	for _, s := range t.children {
		if _, ok := placed[s.ID]; ok {
			continue
		}
		waiting = true
		if s.finished() {
			finished = append(finished, s.ID)
		}
	}
	ends, err := c.readLast(ctx, finished)
	if err != nil {
		return err
	}
	for _, a := range ends {
		if a != nil {
			t.allocs = append(t.allocs, *a)
		}
	}
	if !waiting {
		return nil
	}
	q = query(ctx)
	q.Filter = `Status == "blocked"`
	if _, err := pages(c, "/v1/evaluations", q, c.allocsPerPage, &t.blocked); err != nil {
		return fmt.Errorf("list evaluations: %w", err)
	}
	return nil
}

// readVanished reads how those ended that lived when events were heard last.
func (c *Client) readVanished(ctx context.Context, k known, living map[string]struct{}, t *tables) (err error) {
	var ids []string
	for id, lives := range k.children {
		if _, ok := living[id]; !ok && lives {
			ids = append(ids, id)
		}
	}
	t.vanished, err = c.readLast(ctx, ids)
	return err
}

// readLast reads the newest allocation of each child.
func (c *Client) readLast(ctx context.Context, children []string) (map[string]*alloc, error) {
	out := make(map[string]*alloc, len(children))
	var mu sync.Mutex
	var asks errgroup.Group
	asks.SetLimit(atOnce)
	for _, id := range children {
		asks.Go(func() error {
			var allocs []alloc
			if _, err := c.api.Raw().Query("/v1/job/"+url.PathEscape(id)+"/allocations", &allocs, query(ctx)); err != nil {
				return fmt.Errorf("read allocations of %s: %w", id, err)
			}
			mu.Lock()
			defer mu.Unlock()
			out[id] = nil
			for i, a := range allocs {
				if last := out[id]; last == nil || last.CreateIndex < a.CreateIndex {
					out[id] = &allocs[i]
				}
			}
			return nil
		})
	}
	return out, asks.Wait()
}

// token is what a job says that its id does not: see dispatched.
type token struct{ child, token string }

// readTokens gives the tokens of children whose ids do not tell them.
func (c *Client) readTokens(ctx context.Context, children []string, found chan<- token) {
	var asks errgroup.Group
	asks.SetLimit(atOnce)
	for _, id := range children {
		asks.Go(func() error {
			var j job
			if _, err := c.api.Raw().Query("/v1/job/"+url.PathEscape(id), &j, query(ctx)); err != nil {
				return nil // it is asked for again after the next list
			}
			select {
			case found <- token{id, j.DispatchIdempotencyToken}:
			case <-ctx.Done():
			}
			return nil
		})
	}
	asks.Wait()
}
