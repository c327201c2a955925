package fleet

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strconv"

	"github.com/hashicorp/consul/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// SeatRegistration keeps a seat in Consul until it is closed or its context ends.
type SeatRegistration struct {
	*registration
}

// RegisterSeat puts a seat into Consul and keeps it there. It returns at once,
// whether or not Consul answers; an error means that the seat's address is not
// host:port.
func (f *Fleet) RegisterSeat(ctx context.Context, seat wire.Seat) (*SeatRegistration, error) {
	first, err := seatRecord(seat)
	if err != nil {
		return nil, err
	}
	return &SeatRegistration{f.register(ctx, first)}, nil
}

// Update sets what the seat is now. It never blocks. A change of state is written
// at once, progress alone twice a second at most. The seat's id and
// address are those it was registered with.
func (r *SeatRegistration) Update(seat wire.Seat) {
	was := r.wanted()
	seat.Address = net.JoinHostPort(was.address, strconv.Itoa(was.port))
	now, err := seatRecord(seat)
	if err != nil || now.id != was.id {
		r.fleet.log.Error("seat update for another seat ignored", "seat", seat.ID, "registered", was.id)
		return
	}
	r.set(now)
}

func seatRecord(seat wire.Seat) (record, error) {
	status := api.HealthWarning
	switch {
	case seat.State.Free():
		status = api.HealthPassing
	case seat.State == wire.SeatEnding:
		status = api.HealthCritical
	}
	return newRecord(wire.SeatService+"-"+seat.ID, wire.SeatService, seat.Address, seat.Meta(), status)
}

// WatchSeats calls fn with all seats of the site, sorted by id: first as soon as
// Consul answers, then at each change, one call after the other. A seat that is
// silent for longer than its TTL is left out, so each seat in the list was alive
// seconds ago. A seat that reports that it is ending is in the list. Its Node is that of
// the Consul agent it registered with, whatever it says.
func (f *Fleet) WatchSeats(ctx context.Context, fn func([]wire.Seat)) *Watch {
	last := map[string]bool{} // ids of malformed records, each logged once
	return watch(ctx, f, "seats", func(opts *api.QueryOptions) ([]wire.Seat, *api.QueryMeta, error) {
		entries, meta, err := f.consul.Health().Service(wire.SeatService, "", false, opts)
		if err != nil {
			return nil, nil, err
		}
		seats := make([]wire.Seat, 0, len(entries))
		for _, entry := range entries {
			seat, err := wire.SeatFromMeta(entry.Service.Meta, serviceAddress(entry))
			if err != nil {
				if !last[entry.Service.ID] {
					last[entry.Service.ID] = true
					f.log.Warn("ignored a malformed seat in consul", "service", entry.Service.ID, "error", err)
				}
				continue
			}
			// Consul knows on which agent the seat was registered; the seat could say anything.
			seat.Node = entry.Node.Node
			if seat.State != wire.SeatEnding && entry.Checks.AggregatedStatus() == api.HealthCritical {
				continue
			}
			seats = append(seats, seat)
		}
		slices.SortFunc(seats, func(a, b wire.Seat) int { return cmp.Compare(a.ID, b.ID) })
		return seats, meta, nil
	}, fn)
}

func serviceAddress(entry *api.ServiceEntry) string {
	return net.JoinHostPort(serviceHost(entry), strconv.Itoa(entry.Service.Port))
}

func serviceHost(entry *api.ServiceEntry) string {
	return cmp.Or(entry.Service.Address, entry.Node.Address)
}
