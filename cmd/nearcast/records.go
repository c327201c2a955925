package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/internal/fleet"
)

// records are what an operator registers at all sites of one kind: launch keys, API keys, webhooks.
type records[T any] struct {
	one     string // in words
	command string // "nearcast key"
	add     string // how one is made, after command
	at      func(*fleet.Fleet) fleet.Records[T]
	about   func(T) (id string, created time.Time)
	valid   func(id string) bool
	columns []string // of a list, between the id and the time
	row     func(T) []string
	view    func(registered[T]) any // in JSON
	revoked string                  // what a revocation does, in words
}

// registered is a record with the sites that have it.
type registered[T any] struct {
	Record  T
	ID      string
	Created time.Time
	Sites   []string
	Missing []string // sites that answered and do not have it
}

// all gives all records, the oldest first. err names the sites that did not answer.
func (k records[T]) all(ctx context.Context, s *keySites) (list []registered[T], err error) {
	var mu sync.Mutex
	bySite := map[string]map[string]T{}
	done, err := s.each(ctx, func(ctx context.Context, site string, at *fleet.Fleet) error {
		all, err := k.at(at).All(ctx)
		mu.Lock()
		defer mu.Unlock()
		bySite[site] = all
		return err
	})
	found := map[string]*registered[T]{}
	for _, site := range done {
		for id, record := range bySite[site] {
			if found[id] == nil {
				_, created := k.about(record)
				found[id] = &registered[T]{Record: record, ID: id, Created: created, Sites: []string{}, Missing: []string{}}
			}
		}
	}
	list = []registered[T]{} // "[]" in JSON
	for id, one := range found {
		for _, site := range done {
			if _, ok := bySite[site][id]; ok {
				one.Sites = append(one.Sites, site)
			} else {
				one.Missing = append(one.Missing, site)
			}
		}
		list = append(list, *one)
	}
	slices.SortFunc(list, func(a, b registered[T]) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return list, err
}

// put registers a record everywhere.
func (k records[T]) put(ctx context.Context, s *keySites, record T) (done []string, err error) {
	return s.each(ctx, func(ctx context.Context, _ string, at *fleet.Fleet) error { return k.at(at).Put(ctx, record) })
}

// find is the record with an id, at any site.
func (k records[T]) find(ctx context.Context, s *keySites, id string) (one registered[T], err error) {
	if !k.valid(id) {
		return one, fmt.Errorf("%q is not the id of a %s; %s list shows them", id, k.one, k.command)
	}
	list, failed := k.all(ctx, s)
	if i := slices.IndexFunc(list, func(r registered[T]) bool { return r.ID == id }); i >= 0 {
		return list[i], nil
	}
	if failed != nil {
		return one, failed
	}
	return one, fmt.Errorf("no site has a %s %s; %s list shows them", k.one, id, k.command)
}

func (k records[T]) list(consul *fleet.Config) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the registered " + k.one + "s",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := openSites(cmd.Context(), *consul)
			if err != nil {
				return err
			}
			defer all.close()
			list, failed := k.all(cmd.Context(), all)
			if err := k.show(cmd.OutOrStdout(), list, asJSON); err != nil {
				return err
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (k records[T]) show(w io.Writer, list []registered[T], asJSON bool) error {
	if asJSON {
		views := make([]any, len(list))
		for i, one := range list {
			views[i] = k.view(one)
		}
		return printJSON(w, views)
	}
	if len(list) == 0 {
		fmt.Fprintf(w, "No %s is registered. Make one with: %s %s\n", k.one, k.command, k.add)
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(table, "ID\t%s\tCREATED\tSITES\n", strings.Join(k.columns, "\t"))
	for _, one := range list {
		sites := sitesOf(one.Sites)
		if len(one.Missing) > 0 {
			sites += "; not " + sitesOf(one.Missing)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", one.ID, strings.Join(k.row(one.Record), "\t"), one.Created.Format(time.RFC3339), sites)
	}
	return table.Flush()
}

func (k records[T]) revoke(consul *fleet.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a " + k.one + " at all sites, at once",
		Long:  "Revoke a " + k.one + " at all sites. " + k.revoked,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id := args[0]
			all, err := openSites(cmd.Context(), *consul)
			if err != nil {
				return err
			}
			defer all.close()
			if !k.valid(id) {
				return fmt.Errorf("%q is not the id of a %s; %s list shows them", id, k.one, k.command)
			}
			list, failed := k.all(cmd.Context(), all)
			if failed == nil && !slices.ContainsFunc(list, func(r registered[T]) bool { return r.ID == id }) {
				return fmt.Errorf("no site has a %s %s; %s list shows them", k.one, id, k.command)
			}
			done, err := all.each(cmd.Context(), func(ctx context.Context, _ string, at *fleet.Fleet) error { return k.at(at).Delete(ctx, id) })
			fmt.Fprintf(cmd.OutOrStdout(), "revoked %s\n", sitesOf(done))
			if err != nil {
				return fmt.Errorf("the %s %s may still be good at a site: %w\ntry again with: %s revoke %s", k.one, id, err, k.command, id)
			}
			return nil
		},
	}
}
