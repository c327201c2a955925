package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/brain/nomad"
	"github.com/nearcast/nearcast/cloud"
	"github.com/nearcast/nearcast/internal/publish"
	"github.com/nearcast/nearcast/internal/wire"
)

func cloudPublish(f *cloudFlags) *cobra.Command {
	var vars []string
	var driver, content, prefix, endpoint string
	var wait time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "publish FILE",
		Short: "Register an app's job at every site, after its checks",
		Long: `Register an app's job at every site, or those of --site, each after the checks of
nearcast app check there. Where the job has a variable bucket, it becomes the site's bucket.

With --content, first upload the files of a folder to the primary site's bucket, as nearcast
app publish does, and wait until the other sites have their copies. The job needs a variable
manifest then, which becomes the version of the content.

Exit status: 0 where all sites have the job, else 1. A site that fails does not stop the
others; run the command again for it.`,
		Annotations: map[string]string{leaves: "Only sites that it named with ok have the job for sure. Run it again: it goes on."},
		Example: `  nearcast cloud publish jobs/viewer.nomad.hcl --var node_pool=stream-cpu --var warm=1
  nearcast cloud publish game.nomad.hcl --content ./build --prefix game --site eu-central-1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := readJob(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			app := cloud.App{Job: cloud.Job{Name: filepath.Base(args[0]), Source: source}}
			for _, pair := range vars {
				name, value, ok := strings.Cut(pair, "=")
				if !ok || !cloud.Declares(source, name) {
					return fmt.Errorf("--var %q has to be NAME=VALUE, of a variable that %s has", pair, args[0])
				}
				app.Job.Variables = append(app.Job.Variables, cloud.Variable{Name: name, Value: cloud.Literal(value)})
			}
			if content != "" && (!cloud.Declares(source, "manifest") || prefix == "") {
				return fmt.Errorf("--content needs --prefix, and a variable manifest in %s for the version: content { manifest = var.manifest … }", args[0])
			}
			c, sites, end, err := f.open(cmd)
			if err != nil {
				return err
			}
			defer end()
			if content != "" {
				if app.Manifest, err = uploadContent(cmd.Context(), cmd.ErrOrStderr(), c.Outputs.Primary(), sites, content, publish.Store{Prefix: strings.Trim(prefix, "/") + "/", Endpoint: endpoint}, wait); err != nil {
					return err
				}
			}
			app.Check = func(ctx context.Context, site string, job cloud.Job) ([]string, []string, error) {
				checks, err := nomad.OpenChecks(nomad.Config{Address: f.nomad, Token: f.nomadToken, Namespace: "apps", Region: site})
				if err != nil {
					return nil, nil, err
				}
				defer checks.Close()
				report, err := checks.File(ctx, job.Source, job.Text(), func(ctx context.Context, task wire.TaskCheck) (wire.TaskVerdict, error) {
					return askDriver(ctx, driver, task)
				})
				return report.Problems, report.Notes, err
			}
			return showPublished(cmd, c.Publish(cmd.Context(), sites, app), asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&vars, "var", nil, "variable of the job, NAME=VALUE; can be repeated")
	flags.StringVar(&driver, "driver", "", "the program nomad-driver-stream (default: beside nearcast, then in PATH)")
	flags.StringVar(&content, "content", "", "folder with the app's files, to upload first")
	flags.StringVar(&prefix, "prefix", "", "where in the bucket the files are")
	flags.StringVar(&endpoint, "endpoint", "", "URL of an object store that is not AWS; then buckets are in the path")
	flags.DurationVar(&wait, "wait", 30*time.Minute, "for how long to wait at most for the copies at other sites")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showPublished(cmd *cobra.Command, all []cloud.Published, asJSON bool) error {
	failed := 0
	for _, p := range all {
		word := "ok"
		if !p.OK {
			word = "FAILED"
			failed++
		}
		if !asJSON {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s: %s\n", p.Site, word, p.Words)
		}
	}
	if asJSON {
		if err := printJSON(cmd.OutOrStdout(), all); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d sites do not have it", failed, len(all))
	}
	return nil
}

// uploadContent uploads a folder, and waits for the copies at the sites.
func uploadContent(ctx context.Context, out io.Writer, primary cloud.Site, sites []cloud.Site, dir string, store publish.Store, wait time.Duration) (string, error) {
	if primary.ContentBucket == "" {
		return "", errors.New("--content: the outputs name no content_bucket of the primary site")
	}
	for _, site := range sites {
		if site.ContentBucket == "" {
			return "", fmt.Errorf("--content: the outputs name no content_bucket of site %s; leave it out by --site", site.Name)
		}
	}
	store.Bucket, store.Region = primary.ContentBucket, primary.Name
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	v, err := publish.Dir(ctx, dir, store)
	if err != nil {
		return "", fmt.Errorf("upload %s: %w", dir, err)
	}
	fmt.Fprintf(out, "%d files of %.1f MB are in s3://%s; %d were there already\n", v.Files, float64(v.Bytes)/1e6, store.Bucket, v.Present)
	var copies []publish.Site
	for _, site := range sites {
		if site.Name != primary.Name {
			copies = append(copies, publish.Site{Name: site.Name, Store: publish.Store{Bucket: site.ContentBucket, Prefix: store.Prefix, Endpoint: store.Endpoint, Region: site.Name}})
		}
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := publish.Wait(waiting, v.Manifest, store, copies, 0, tellCopies(out)); err != nil {
		return "", fmt.Errorf("wait for the copies; no job was registered: %w", err)
	}
	return "sha256:" + v.Manifest, nil
}
