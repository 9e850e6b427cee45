#!/usr/bin/env python3
"""What openGauss's OM says of files of clusters: om.py FOLDER, the folder a checkout of openGauss-OM.

A line of JSON for each question on standard input, a line of JSON for its answer on standard output:

  {"do": "xml", "path": XML, "out": FILE}          reads the XML, writes FILE as a static config
  {"do": "static", "path": FILE, "out": OTHER}     reads FILE as a static config, writes OTHER as one
  {"do": "roles", "path": FILE, "roles": {"6001": "Primary"}, "folder": FOLDER}
                                                   reads the static config FILE, writes FOLDER/cluster_dynamic_config and
                                                   FOLDER/cluster_dnrole_config for these live roles
  {"do": "dynamic", "path": FILE, "static": FILE}  reads FILE as a dynamic config

The answer holds what was read, or `error`, OM's own words. All of it is OM's own code, but for what reaches out of it:
the clock, the environment, the servers' state, and sending files to other nodes.
"""
import json
import os
import sys
import types

TIME = 1611212345


def missing_modules():
    """What OM imports to look at the machine, which nobody asks here."""
    netifaces = types.ModuleType("netifaces")
    netifaces.AF_INET, netifaces.AF_INET6 = 2, 10
    netifaces.interfaces = lambda: []
    netifaces.ifaddresses = lambda _: {}
    psutil = types.ModuleType("psutil")
    for name, module in (("netifaces", netifaces), ("psutil", psutil)):
        try:
            __import__(name)
        except ImportError:
            sys.modules[name] = module


def private(name):
    return "_dbClusterInfo__" + name


def instance(inst):
    return {"id": inst.instanceId, "group": inst.mirrorId, "data_dir": inst.datadir, "xlog_dir": inst.xlogdir,
            "ssd_dir": inst.ssdDir, "listen": inst.listenIps, "port": inst.port, "role": inst.instanceType,
            "ha": inst.haIps, "ha_port": inst.haPort,
            "peers": [{"data_dir": p.peerDataPath, "ha": p.peerHAIPs, "ha_port": p.peerHAPort, "role": p.peerRole}
                      for p in inst.peerInstanceInfos]}


def node(n):
    server = [{"id": s.instanceId, "group": s.mirrorId, "level": s.level, "listen": s.listenIps, "port": s.port,
               "ha": s.haIps, "ha_port": s.haPort, "role": s.instanceType} for s in n.cmservers]
    agent = [{"id": a.instanceId, "group": a.mirrorId, "listen": a.listenIps} for a in n.cmagents]
    return {"id": n.id, "name": n.name, "zone": n.azName, "zone_priority": n.azPriority, "back": n.backIps,
            "ssh": n.sshIps, "cm_dir": n.cmDataDir, "cm_server": server, "cm_agent": agent,
            "data_nodes": [instance(d) for d in n.datanodes]}


class Om:
    def __init__(self, folder):
        missing_modules()
        sys.path.insert(0, os.path.join(folder, "script"))
        # Where OM keeps binary modules; it looks whether there are any.
        real = os.listdir
        os.listdir = lambda path=".": real(path) if os.path.isdir(path) else ["none"]
        from gspylib.common import DbClusterInfo as module
        os.listdir = real
        self.module = module
        module.time = types.SimpleNamespace(time=lambda: TIME)

    def cluster(self):
        return self.module.dbClusterInfo()

    def read_static(self, path):
        cluster = self.cluster()
        cluster.initFromStaticConfigWithoutUser(path)
        return cluster

    def xml(self, ask):
        cluster = self.cluster()
        cluster.initFromXml(ask["path"])
        cluster.saveToStaticConfig(ask["out"], 1)
        return {"nodes": [node(n) for n in cluster.dbNodes]}

    def static(self, ask):
        cluster = self.read_static(ask["path"])
        answer = {"nodes": [node(n) for n in cluster.dbNodes]}
        cluster.saveToStaticConfig(ask["out"], ask["local"])
        return answer

    def roles(self, ask):
        cluster, roles, folder = self.read_static(ask["path"]), ask["roles"], ask["folder"]
        kind = type(cluster)
        dynamic = os.path.join(folder, "cluster_dynamic_config")

        def state(_, inst, *rest):
            inst.localRole = roles.get(str(inst.instanceId), "Unknown")
            inst.state = "Normal"

        setattr(kind, private("getDynamicConfig"), lambda *_: dynamic)
        setattr(kind, private("getDynamicSimpleDNConfig"), lambda *_: os.path.join(folder, "cluster_dnrole_config"))
        setattr(kind, private("getDnState"), state)
        setattr(kind, private("sendDynamicCfgToAllNodes"), lambda *_: None)
        setattr(kind, private("reset_replconninfo"), lambda *_: None)
        setattr(kind, private("getStatusByOM"), lambda *_: ask["status"])
        cluster.cmscount = 0
        cluster.doRefreshConf("omm", "here", None)
        return {}

    def dynamic(self, ask):
        cluster = self.cluster()
        kind = type(cluster)
        setattr(kind, private("getDynamicConfig"), lambda *_: ask["path"])
        setattr(kind, private("getEnvironmentParameterValue"), lambda *_: "/omm")
        kind.initFromStaticConfig = lambda self, _: self.initFromStaticConfigWithoutUser(ask["static"])
        cluster.readDynamicConfig("omm")
        return {"nodes": [{"id": n.id, "name": n.name,
                           "data_nodes": [{"id": d.instanceId, "group": d.mirrorId, "role": d.instanceType,
                                           "data_dir": d.datadir} for d in n.datanodes]} for n in cluster.dbNodes]}


def main():
    om = Om(sys.argv[1])
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            answer = getattr(om, ask["do"])(ask)
        except Exception as e:  # OM raises nothing but Exception, and its words are the answer
            answer = {"error": str(e) or repr(e), "kind": type(e).__name__}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
