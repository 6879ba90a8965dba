namespace Microsoft.ML.Distributed;

/// <summary>A transformer that makes a network's features: the only ones that a job may bring of its own.</summary>
internal interface INetworkInputs : ITransformer;
