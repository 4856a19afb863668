"""Checks the unit that the NixOS module makes: module_check.py UNIT, as JSON.

It holds the unit's environment and serviceConfig, the assertions of ours that fail, and those that fail where a key was
put among the settings and no file was named.
"""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    unit = json.load(file)
assert unit["failed"] == [], unit["failed"]
assert len(unit["refused"]) == 2 and all("WS_RPC_URL" in message for message in unit["refused"]), unit["refused"]

environment, service = unit["environment"], unit["serviceConfig"]
assert environment["DATABASE_URL"] == "sqlite:///var/lib/counterfill/bot.db"
assert environment["DEPLOYMENT_BLOCK"] == "41686926"
assert "WS_RPC_URL" not in environment
assert service["LoadCredential"] == ["WS_RPC_URL:/run/secrets/ws-rpc-url"]
assert service["ExecStart"].endswith("/bin/bot run")
wanted = {
    "DynamicUser": True,
    "StateDirectory": "counterfill",
    "ProtectSystem": "strict",
    "NoNewPrivileges": True,
    "CapabilityBoundingSet": "",
    "MemoryDenyWriteExecute": True,
    "SystemCallErrorNumber": "EPERM",
    "RestartPreventExitStatus": "64 65 78",
}
for name, value in wanted.items():
    assert service[name] == value, f"{name} is {service[name]}"
print(f"{len(service)} settings")
