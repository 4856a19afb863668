# The bot as a NixOS service: services.counterfill. What carries a key (the node's URL does) comes as a systemd
# credential; it is in no unit file, no environment and no store path.
{
  config,
  lib,
  ...
}:
let
  cfg = config.services.counterfill;
  carriesKey = name: builtins.match ".*_(RPC_URL|WEBHOOK_URL|SECRET|TOKEN|KEY)" name != null;
  misplaced = builtins.filter carriesKey (builtins.attrNames cfg.settings);
in
{
  options.services.counterfill = {
    enable = lib.mkEnableOption "counterfill, which hedges onchain fills at a broker";
    package = lib.mkOption {
      type = lib.types.package;
      description = "The counterfill package; from this flake: packages.\${system}.bot.";
    };
    credentials = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      example = {
        WS_RPC_URL = "/run/secrets/ws-rpc-url";
      };
      description = "By the setting's name the file that holds it, readable by root. WS_RPC_URL must be among them.";
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
        assertion = cfg.credentials ? WS_RPC_URL;
        message = "services.counterfill.credentials must name the file that holds WS_RPC_URL.";
      }
      {
        assertion = misplaced == [ ];
        message = "services.counterfill.settings must not hold ${toString misplaced}: it would lie in the store. Use credentials.";
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
        LoadCredential = lib.mapAttrsToList (name: file: "${name}:${file}") cfg.credentials;
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
        # What is refused is an error that the bot tells of, not a signal that kills it.
        SystemCallErrorNumber = "EPERM";
        DevicePolicy = "closed";
        KeyringMode = "private";
      };
    };
  };
}
