// AKS: Azure CNI overlay with Cilium, workload identity, autoscaled nodes, managed Gateway API, Prometheus, KEDA, secrets from Key Vault.

@description('Name of the cluster.')
param name string

@description('Azure region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Identity of the control plane.')
param identityId string

@description('Subnet of the nodes.')
param subnetId string

@description('Kubernetes version; empty: the default of AKS.')
param kubernetesVersion string

@description('Free or Standard.')
param tier string

@description('Availability zones.')
param zones array

@description('VM size of the system pool.')
param systemVmSize string

@description('Nodes of the system pool.')
param systemNodes int

@description('VM size of the work pool.')
param workVmSize string

@description('Fewest nodes of the work pool.')
param workNodesMin int

@description('Most nodes of the work pool.')
param workNodesMax int

@description('Ranges that may reach the API server; none: all.')
param apiServerRanges array

@description('Where logs go.')
param logAnalyticsId string

resource cluster 'Microsoft.ContainerService/managedClusters@2026-04-01' = {
  // checkov:skip=CKV_AZURE_8:the dashboard add-on no longer exists, so there is nothing to switch off
  // checkov:skip=CKV_AZURE_172:rotation is on; an add-on's config holds text, 'true', and the check wants a boolean
  name: name
  location: location
  tags: tags
  sku: {
    name: 'Base'
    tier: tier
  }
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    dnsPrefix: name
    kubernetesVersion: empty(kubernetesVersion) ? null : kubernetesVersion
    enableRBAC: true
    // Entra logins only, and Azure roles say what each may do.
    disableLocalAccounts: true
    aadProfile: {
      managed: true
      enableAzureRBAC: true
    }
    apiServerAccessProfile: {
      authorizedIPRanges: apiServerRanges
      disableRunCommand: true
    }
    oidcIssuerProfile: {
      enabled: true
    }
    securityProfile: {
      workloadIdentity: {
        enabled: true
      }
      imageCleaner: {
        enabled: true
        intervalHours: 168
      }
    }
    networkProfile: {
      networkPlugin: 'azure'
      networkPluginMode: 'overlay'
      networkDataplane: 'cilium'
      networkPolicy: 'cilium'
      podCidr: '10.244.0.0/16'
      serviceCidr: '10.0.0.0/16'
      dnsServiceIP: '10.0.0.10'
      loadBalancerSku: 'standard'
      outboundType: 'loadBalancer'
    }
    ingressProfile: {
      gatewayAPI: {
        installation: 'Standard'
      }
      webAppRouting: {
        gatewayAPIImplementations: {
          appRoutingIstio: {
            mode: 'Enabled'
          }
        }
      }
    }
    workloadAutoScalerProfile: {
      keda: {
        enabled: true
      }
    }
    azureMonitorProfile: {
      metrics: {
        enabled: true
        kubeStateMetrics: {
          metricLabelsAllowlist: ''
          metricAnnotationsAllowList: ''
        }
      }
    }
    addonProfiles: {
      azureKeyvaultSecretsProvider: {
        enabled: true
        config: {
          enableSecretRotation: 'true'
          rotationPollInterval: '2m'
        }
      }
      omsagent: {
        enabled: true
        config: {
          logAnalyticsWorkspaceResourceID: logAnalyticsId
          useAADAuth: 'true'
        }
      }
      azurepolicy: {
        enabled: true
      }
    }
    autoUpgradeProfile: {
      upgradeChannel: 'patch'
      nodeOSUpgradeChannel: 'NodeImage'
    }
    autoScalerProfile: {
      expander: 'least-waste'
      // Pods keep their models in an emptyDir, which may go with its node.
      'skip-nodes-with-local-storage': 'false'
      'scale-down-unneeded-time': '10m'
      // The longest drain, and a little more.
      'max-graceful-termination-sec': '120'
    }
    agentPoolProfiles: [
      {
        name: 'system'
        mode: 'System'
        type: 'VirtualMachineScaleSets'
        count: systemNodes
        vmSize: systemVmSize
        osType: 'Linux'
        osSKU: 'AzureLinux'
        // On the VM's own disk, which must hold it: 75 GiB with D2ds_v5, 150 GiB with D4ds_v5.
        osDiskType: 'Ephemeral'
        osDiskSizeGB: 64
        availabilityZones: zones
        vnetSubnetID: subnetId
        maxPods: 110
        enableEncryptionAtHost: true
        nodeTaints: ['CriticalAddonsOnly=true:NoSchedule']
        upgradeSettings: {
          maxSurge: '33%'
        }
      }
      {
        name: 'work'
        mode: 'User'
        type: 'VirtualMachineScaleSets'
        count: workNodesMin
        minCount: workNodesMin
        maxCount: workNodesMax
        enableAutoScaling: true
        vmSize: workVmSize
        osType: 'Linux'
        osSKU: 'AzureLinux'
        osDiskType: 'Ephemeral'
        osDiskSizeGB: 128
        availabilityZones: zones
        vnetSubnetID: subnetId
        maxPods: 110
        enableEncryptionAtHost: true
        upgradeSettings: {
          maxSurge: '33%'
          drainTimeoutInMinutes: 10
        }
      }
    ]
  }
}

// Sunday night: the cluster's patches, then the nodes' images.
resource upgrades 'Microsoft.ContainerService/managedClusters/maintenanceConfigurations@2026-04-01' = {
  parent: cluster
  name: 'aksManagedAutoUpgradeSchedule'
  properties: {
    maintenanceWindow: {
      schedule: {
        weekly: {
          intervalWeeks: 1
          dayOfWeek: 'Sunday'
        }
      }
      durationHours: 4
      startTime: '01:00'
      utcOffset: '+00:00'
    }
  }
}

resource nodeImages 'Microsoft.ContainerService/managedClusters/maintenanceConfigurations@2026-04-01' = {
  parent: cluster
  name: 'aksManagedNodeOSUpgradeSchedule'
  properties: {
    maintenanceWindow: {
      schedule: {
        weekly: {
          intervalWeeks: 1
          dayOfWeek: 'Sunday'
        }
      }
      durationHours: 4
      startTime: '05:00'
      utcOffset: '+00:00'
    }
  }
}

// Who changed what in the cluster; reads are left out, they are most of the volume.
resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: cluster
  properties: {
    workspaceId: logAnalyticsId
    logAnalyticsDestinationType: 'Dedicated'
    logs: [
      {
        category: 'kube-audit-admin'
        enabled: true
      }
      {
        category: 'guard'
        enabled: true
      }
      {
        category: 'cluster-autoscaler'
        enabled: true
      }
    ]
  }
}

output name string = cluster.name
output podCidr string = cluster.properties.networkProfile.podCidr
output issuer string = cluster.properties.oidcIssuerProfile.issuerURL
output kubeletObjectId string = cluster.properties.identityProfile.kubeletidentity.objectId
