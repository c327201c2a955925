package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/internal/publish"
)

func appPublish() *cobra.Command {
	var to string
	var store publish.Store
	var sites []string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "publish DIR --to s3://BUCKET/PREFIX",
		Short: "Upload the files of an app as one version, which a job names",
		Long: `Upload the files below DIR to an object store, and print the content block of a job
that names exactly this version: "nomad job revert" then brings back the files too.

Each file is stored under the sha256 of its bytes, so that what is there already is not
uploaded again, and versions stay beside each other. The list of files is stored last.
A link must lead to a file below DIR; its target is stored. Of modes, only the right to
execute is kept.

Credentials come from the environment, the AWS configuration or the instance's role. They
must allow s3:GetObject, s3:ListBucket and s3:PutObject. Copies at other sites are made by
the buckets' replication. With --wait and --site, the command ends when each of these sites
has all files too, with s3:ListBucket and s3:GetObject there. The prefix is that of --to.
It prints the block in any case: what was published stays.`,
		Annotations: map[string]string{leaves: "If the block was printed, the version is there, and other sites may still copy it. If not, run it again: files that are there are not uploaded again."},
		Example: `  nearcast app publish ./build --to s3://nearcast-content/neverball
  nearcast app publish ./build --to s3://content-fra/neverball --wait 30m \
    --site 'iad=s3://content-iad?region=us-east-1' --site 'tok=s3://content-tok?region=ap-northeast-1'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rest, ok := strings.CutPrefix(to, "s3://")
			bucket, prefix, _ := strings.Cut(rest, "/")
			prefix = strings.Trim(prefix, "/")
			if !ok || bucket == "" || prefix == "" {
				return errors.New("--to must be s3://BUCKET/PREFIX")
			}
			store.Bucket, store.Prefix = bucket, prefix+"/"
			copies, err := publishSites(sites, store)
			if err != nil {
				return err
			}
			if (wait != 0) != (len(copies) > 0) || wait < 0 {
				return errors.New("--wait needs the sites that it waits for (--site), a time above 0, and --site needs --wait")
			}
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			var shown time.Time
			store.Progress = func(p publish.Progress) {
				if now := time.Now(); now.Sub(shown) > time.Second || p.Done == p.Total {
					shown = now
					fmt.Fprintf(cmd.ErrOrStderr(), "%d of %d files, %.1f of %.1f MB uploaded\n", p.Done, p.Total, float64(p.DoneBytes)/1e6, float64(p.TotalBytes)/1e6)
				}
			}
			v, err := publish.Dir(cmd.Context(), dir, store)
			if err != nil {
				return fmt.Errorf("publish %s: %w", args[0], err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d files of %.1f MB; %d were there already\n", v.Files, float64(v.Bytes)/1e6, v.Present)
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "content {\n  source      = %q\n  manifest    = %q\n  destination = \"local/%s\"\n}\n",
				"s3://"+bucket+"/"+store.Prefix, "sha256:"+v.Manifest, prefix[strings.LastIndex(prefix, "/")+1:])
			if err != nil || wait == 0 {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			err = publish.Wait(ctx, v.Manifest, store, copies, 0, tellCopies(cmd.ErrOrStderr()))
			switch {
			case err == nil:
				return nil
			case cmd.Context().Err() == nil && ctx.Err() != nil:
				return fmt.Errorf("after %v not all sites have the version:\n%w", wait, err)
			}
			return fmt.Errorf("wait for the sites: %w", err)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&to, "to", "", "where to: s3://BUCKET/PREFIX")
	flags.StringVar(&store.Endpoint, "endpoint", "", "URL of an object store that is not AWS; then buckets are in the path")
	flags.StringVar(&store.Region, "region", "", "region of the bucket (default: AWS_REGION, else us-east-1)")
	flags.DurationVar(&wait, "wait", 0, "wait so long at most until each --site has all files (default: do not wait)")
	flags.StringArrayVar(&sites, "site", nil, "a site to wait for, may be repeated: NAME=s3://BUCKET[?endpoint=URL&region=REGION]")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err)
	}
	return cmd
}

// publishSites reads NAME=s3://BUCKET[?endpoint=URL&region=REGION]. Endpoint and region are
// else those of the store that is published to; so is the prefix.
func publishSites(texts []string, to publish.Store) ([]publish.Site, error) {
	var out []publish.Site
	seen := map[string]bool{}
	for _, text := range texts {
		wrong := func(why string) error {
			return fmt.Errorf("--site %q %s: it must be NAME=s3://BUCKET[?endpoint=URL&region=REGION]", text, why)
		}
		name, at, ok := strings.Cut(text, "=")
		u, err := url.Parse(at)
		switch {
		case !ok || name == "":
			return nil, wrong("has no name")
		case err != nil || u.Scheme != "s3" || u.Host == "":
			return nil, wrong("names no bucket")
		case strings.Trim(u.Path, "/") != "":
			return nil, wrong("has a prefix, which is that of --to")
		case seen[name]:
			return nil, wrong("has a name twice")
		}
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil {
			return nil, wrong(err.Error())
		}
		for key := range query {
			if key != "endpoint" && key != "region" {
				return nil, wrong("has " + key)
			}
		}
		seen[name] = true
		out = append(out, publish.Site{Name: name, Store: publish.Store{
			Bucket: u.Host, Prefix: to.Prefix,
			Endpoint: cmp.Or(query.Get("endpoint"), to.Endpoint), Region: cmp.Or(query.Get("region"), to.Region),
		}})
	}
	return out, nil
}

// tellCopies prints what changes at the sites.
func tellCopies(out io.Writer) func(publish.Copy) {
	var mu sync.Mutex
	last := map[string]string{}
	return func(c publish.Copy) {
		text := fmt.Sprintf("%s: %d of %d objects\n", c.Site, c.Present, c.Total)
		if c.Err != nil {
			text = fmt.Sprintf("%s: %v; asking again\n", c.Site, c.Err)
		}
		mu.Lock()
		defer mu.Unlock()
		if last[c.Site] != text {
			last[c.Site] = text
			fmt.Fprint(out, text)
		}
	}
}
