# The image: the program and the certificate authorities, one store path a layer, and a last layer with what only an
# image needs. No base image, no shell. Store layers stay owned by root: the service can not change its own program.
{
  pkgs,
  package,
  revision,
}:
let
  inherit (package) program version;
  seconds = count: count * 1000000000;
  image = pkgs.dockerTools.buildLayeredImage {
    name = "counterfill";
    tag = version;
    # Relative to the image's root. /data takes its owner into a named volume at first use.
    fakeRootCommands = ''
      mkdir -p data tmp etc
      printf 'root:x:0:0:root:/:/nonexistent\nbot:x:65532:65532:counterfill:/data:/nonexistent\n' > etc/passwd
      printf 'root:x:0:\nbot:x:65532:\n' > etc/group
      chmod 0644 etc/passwd etc/group
      chmod 0750 data
      chmod 1777 tmp
      chown 65532:65532 data
    '';
    config = {
      User = "65532:65532";
      Entrypoint = [ "${program}/bin/bot" ];
      Cmd = [ "run" ];
      WorkingDir = "/data";
      Volumes."/data" = { };
      ExposedPorts."8080/tcp" = { };
      StopSignal = "SIGTERM";
      Healthcheck = {
        Test = [
          "CMD"
          "${program}/bin/bot"
          "health"
        ];
        Interval = seconds 15;
        Timeout = seconds 5;
        StartPeriod = seconds 30;
        Retries = 3;
      };
      Env = [
        "DATABASE_URL=sqlite:///data/bot.db"
        "RUST_LOG=info"
        "LISTEN=0.0.0.0:8080"
        "PATH=${program}/bin"
        "SSL_CERT_FILE=${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt"
      ];
      Labels = {
        "org.opencontainers.image.title" = "counterfill";
        "org.opencontainers.image.description" = "Answers every onchain fill with one opposite order";
        "org.opencontainers.image.version" = version;
        "org.opencontainers.image.revision" = revision;
        "org.opencontainers.image.created" = "1970-01-01T00:00:01Z";
        "org.opencontainers.image.licenses" = "MIT OR Apache-2.0";
      };
    };
  };
in
image
// {
  inherit revision version;
}
