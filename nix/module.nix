# The bot as a NixOS service: services.counterfill. The node's URL holds a key and comes as a systemd credential; it is
# in no unit file, no environment and no store path.
{
  config,
  lib,
  ...
}:
let
  cfg = config.services.counterfill;
in
{
  options.services.counterfill = {
    enable = lib.mkEnableOption "counterfill, which hedges onchain fills at a broker";
    package = lib.mkOption {
      type = lib.types.package;
      description = "The counterfill package; from this flake: packages.\${system}.bot.";
    };
    wsRpcUrlFile = lib.mkOption {
      type = lib.types.path;
      example = "/run/secrets/ws-rpc-url";
      description = "File that holds WS_RPC_URL, readable by root; a string, so that it is not copied into the store.";
    };
    settings = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      default = { };
      example = {
        ORDERBOOK = "0xe522cB4a5fCb2eb31a52Ff41a4653d85A4fd7C9D";
        ORDER_OWNER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
        DEPLOYMENT_BLOCK = "41686926";
      };
      description = "Every other setting, by its variable's name (docs/reference/configuration.md). No secrets.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = !(cfg.settings ? WS_RPC_URL);
        message = "services.counterfill.settings must not hold WS_RPC_URL: it would lie in the store. Use wsRpcUrlFile.";
      }
    ];

    environment.systemPackages = [ cfg.package ];

    systemd.services.counterfill = {
      description = "counterfill: onchain fills hedged at a broker";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      # What must be mended first is not mended by a restart (exit codes: bot --help).
      startLimitIntervalSec = 600;
      startLimitBurst = 10;
      environment = {
        DATABASE_URL = "sqlite:///var/lib/counterfill/bot.db";
      }
      // cfg.settings;
      serviceConfig = {
        ExecStart = "${cfg.package}/bin/bot run";
        Restart = "on-failure";
        RestartSec = "5s";
        RestartPreventExitStatus = "64 65 78";
        # The bot waits at most 5 s for the order in flight and then closes its ledger.
        TimeoutStopSec = "20s";
        KillSignal = "SIGTERM";

        DynamicUser = true;
        StateDirectory = "counterfill";
        StateDirectoryMode = "0750";
        LoadCredential = "WS_RPC_URL:${cfg.wsRpcUrlFile}";
        UMask = "0077";

        CapabilityBoundingSet = "";
        AmbientCapabilities = "";
        NoNewPrivileges = true;
        ProtectSystem = "strict";
        ProtectHome = true;
        ProtectProc = "invisible";
        ProcSubset = "pid";
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        PrivateDevices = true;
        PrivateTmp = true;
        PrivateUsers = true;
        RemoveIPC = true;
        RestrictAddressFamilies = [
          "AF_INET"
          "AF_INET6"
          "AF_UNIX"
        ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [
          "@system-service"
          "~@privileged @resources"
        ];
        DevicePolicy = "closed";
        KeyringMode = "private";
      };
    };
  };
}
