package nomad

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// Use is what the seats of an app used while people had them.
type Use struct {
	App        string
	Seat       SeatTask                   // what its job asks for; other tasks are not measured
	Seats      map[string]bool            // that were measured, by allocation
	CPU        []float64                  // MHz, one for each measurement
	Memory     []float64                  // MB, likewise
	Unmeasured map[string]map[string]bool // seats without figures, by the reason
}

// Asks reads what the jobs of apps ask for. Without ids it is all apps.
func (c Checks) Asks(ctx context.Context, ids ...string) (uses []*Use, err error) {
	jobs, err := c.Registered(ctx)
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if len(ids) > 0 && !slices.Contains(ids, j.App.ID) {
			continue
		}
		uses = append(uses, &Use{App: j.App.ID, Seat: j.Seat, Seats: map[string]bool{}, Unmeasured: map[string]map[string]bool{}})
	}
	for _, id := range ids {
		if !slices.ContainsFunc(uses, func(u *Use) bool { return u.App == id }) {
			return nil, fmt.Errorf("there is no app %q; nearcast app list shows those of this site", id)
		}
	}
	return uses, nil
}

// mostMeasured bounds how many seats of an app are measured at a time: each is a question to its node.
const mostMeasured = 50

// Measure adds one measurement of each seat that somebody has now.
func (c Checks) Measure(ctx context.Context, uses []*Use) error {
	q := query(ctx)
	q.Filter = `ClientStatus == "running"`
	allocs, _, err := c.api.Allocations().List(q)
	if err != nil {
		return fmt.Errorf("list seats: %w", err)
	}
	parents := map[string]string{}
	jq := query(ctx)
	jq.Filter = `ParentID != "" and Status == "running"`
	jobs, _, err := c.api.Jobs().List(jq)
	if err != nil {
		return fmt.Errorf("list seats: %w", err)
	}
	for _, j := range jobs {
		parents[j.ID] = j.ParentID
	}
	for _, u := range uses {
		measured := 0
		for _, a := range allocs {
			if parents[a.JobID] != u.App || stateOf(a.TaskStates) != wire.SeatStreaming {
				continue
			}
			if measured++; measured > mostMeasured {
				break
			}
			c.measure(ctx, u, a.ID)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

func (c Checks) measure(ctx context.Context, u *Use, alloc string) {
	once, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	all, err := c.api.Allocations().Stats(&api.Allocation{ID: alloc}, query(once))
	var use *api.TaskResourceUsage
	if err == nil {
		use = all.Tasks[u.Seat.Name]
	}
	switch {
	case ctx.Err() != nil:
		return // it says nothing of the seat
	case status(err) == http.StatusForbidden:
		err = errors.New("the token has no right to read jobs here")
	case err == nil && (use == nil || use.ResourceUsage == nil || use.ResourceUsage.CpuStats == nil || use.ResourceUsage.MemoryStats == nil || use.Timestamp == 0):
		err = errors.New("its node has no figures yet, or its agent lacks telemetry { publish_allocation_metrics = true }")
	}
	if err != nil {
		if u.Unmeasured[err.Error()] == nil {
			u.Unmeasured[err.Error()] = map[string]bool{}
		}
		u.Unmeasured[err.Error()][alloc] = true
		return
	}
	cpu, memory := use.ResourceUsage.CpuStats, use.ResourceUsage.MemoryStats
	u.Seats[alloc] = true
	u.CPU = append(u.CPU, cpu.TotalTicks)
	// Usage has the files that the kernel keeps in memory, of which the cell's own must stay.
	u.Memory = append(u.Memory, float64(max(memory.Usage, memory.RSS+memory.Swap))/(1<<20))
}
