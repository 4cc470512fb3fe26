// Where logs and metrics go: Log Analytics for logs, an Azure Monitor workspace for Prometheus.

@description('Name of the installation.')
param name string

@description('Azure region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Days that logs are kept.')
param retentionDays int

@description('Most GB of logs a day; -1: no limit.')
param dailyCapGb int

resource logs 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: '${name}-logs'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    workspaceCapping: {
      dailyQuotaGb: dailyCapGb
    }
    features: {
      disableLocalAuth: true
    }
  }
}

resource prometheus 'Microsoft.Monitor/accounts@2023-04-03' = {
  name: '${name}-prometheus'
  location: location
  tags: tags
}

output logAnalyticsId string = logs.id
output prometheusId string = prometheus.id
output prometheusQueryEndpoint string = prometheus.properties.metrics.prometheusQueryEndpoint
