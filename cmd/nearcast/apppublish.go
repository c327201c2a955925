package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/internal/publish"
)

func appPublish() *cobra.Command {
	var to string
	var store publish.Store
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
the buckets' replication, which this command does not wait for.`,
		Example: `  nearcast app publish ./build --to s3://nearcast-content/neverball`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rest, ok := strings.CutPrefix(to, "s3://")
			bucket, prefix, _ := strings.Cut(rest, "/")
			prefix = strings.Trim(prefix, "/")
			if !ok || bucket == "" || prefix == "" {
				return errors.New("--to must be s3://BUCKET/PREFIX")
			}
			store.Bucket, store.Prefix = bucket, prefix+"/"
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
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&to, "to", "", "where to: s3://BUCKET/PREFIX")
	flags.StringVar(&store.Endpoint, "endpoint", "", "URL of an object store that is not AWS; then buckets are in the path")
	flags.StringVar(&store.Region, "region", "", "region of the bucket (default: AWS_REGION, else us-east-1)")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err)
	}
	return cmd
}
