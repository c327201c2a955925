package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/provision"
)

func uploadCommand() *cobra.Command {
	var env, region string
	cmd := &cobra.Command{
		Use:   "upload FILE s3://BUCKET/KEY",
		Short: "Upload a file to an object store",
		Long: `Upload a file to the object store that NEARCAST_S3_ENDPOINT in
` + envFile + ` names, else to S3. --region is the bucket's region,
if that is not the one of the node's site. Credentials come from AWS_… in the
environment, or from the role of the instance. backup.sh uploads the servers'
snapshots with it.`,
		Example: "  nearcast provision upload --region eu-west-1 consul.snap s3://backups/consul.snap",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := load(env, slog.Default())
			if err != nil {
				return err
			}
			store := v.Stream.S3
			store.Region = cmp.Or(region, store.Region)
			return upload(cmd.Context(), store, args[0], args[1])
		},
	}
	cmd.Flags().StringVar(&env, "env", envFile, "the file that describes this node")
	cmd.Flags().StringVar(&region, "region", "", "the bucket's region (default that of the site's object store)")
	return cmd
}

func upload(ctx context.Context, store provision.S3, file, to string) error {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "s3" || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return fmt.Errorf("the target %q is not s3://BUCKET/KEY", to)
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	defer f.Close()
	cfg, err := awsConfig(ctx, store.Region)
	if err != nil {
		return err
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = store.PathStyle
		if store.Endpoint != "" {
			o.BaseEndpoint = aws.String(store.Endpoint)
		}
	})
	_, err = client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(u.Host), Key: aws.String(strings.TrimPrefix(u.Path, "/")), Body: f,
	})
	if err != nil {
		return fmt.Errorf("upload %s to %s: %w", file, to, err)
	}
	return nil
}
