// Key Vault: the key pair between gateway and scorer, the client's certificate. Roles only, behind a firewall, audited.

@description('Name, unique in Azure, at most 24 characters.')
@maxLength(24)
param name string

@description('Azure region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Subnet of the nodes, whose CSI driver reads the secrets.')
param subnetId string

@description('Public addresses and ranges of those who write secrets.')
param allowedAddresses array

@description('Where the audit log goes.')
param logAnalyticsId string

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    // Cannot be taken back. deploy.sh recovers a vault that teardown.sh deleted.
    enablePurgeProtection: true
    publicNetworkAccess: 'Enabled'
    networkAcls: {
      defaultAction: 'Deny'
      bypass: 'None'
      virtualNetworkRules: [
        {
          id: subnetId
        }
      ]
      ipRules: [
        for address in allowedAddresses: {
          value: address
        }
      ]
    }
  }
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: logAnalyticsId
    logs: [
      {
        category: 'AuditEvent'
        enabled: true
      }
    ]
  }
}

output name string = vault.name
