using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>How gradients change the weights: <see cref="AdamWOptimizer"/>, <see cref="AdamOptimizer"/> or <see cref="SgdOptimizer"/>.</summary>
public abstract record NetworkOptimizer
{
    private protected NetworkOptimizer()
    {
    }

    internal abstract OptimizerSpec ToSpec();
}

/// <summary>Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101).</summary>
public sealed record AdamWOptimizer : NetworkOptimizer
{
    /// <summary>The decay of the average gradient, in [0, 1).</summary>
    /// <value>0.9</value>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>The decay of the average squared gradient, in [0, 1).</summary>
    /// <value>0.999</value>
    public double Beta2 { get; init; } = 0.999;

    /// <summary>What is added to the denominator, above 0.</summary>
    /// <value>1e-8</value>
    public double Epsilon { get; init; } = 1e-8;

    internal override OptimizerSpec ToSpec() => new() { Adamw = new AdamWSpec { Beta1 = Beta1, Beta2 = Beta2, Epsilon = Epsilon } };
}

/// <summary>Adam (Kingma and Ba, arXiv:1412.6980): weight decay is an L2 penalty in the gradient. <see cref="AdamWOptimizer"/> generalises better.</summary>
public sealed record AdamOptimizer : NetworkOptimizer
{
    /// <summary>The decay of the average gradient, in [0, 1).</summary>
    /// <value>0.9</value>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>The decay of the average squared gradient, in [0, 1).</summary>
    /// <value>0.999</value>
    public double Beta2 { get; init; } = 0.999;

    /// <summary>What is added to the denominator, above 0.</summary>
    /// <value>1e-8</value>
    public double Epsilon { get; init; } = 1e-8;

    internal override OptimizerSpec ToSpec() => new() { Adam = new AdamSpec { Beta1 = Beta1, Beta2 = Beta2, Epsilon = Epsilon } };
}

/// <summary>Stochastic gradient descent with momentum. Its learning rates are some ten times those of <see cref="AdamWOptimizer"/>.</summary>
public sealed record SgdOptimizer : NetworkOptimizer
{
    /// <summary>The part of the last update that is repeated, in [0, 1).</summary>
    /// <value>0.9</value>
    public double Momentum { get; init; } = 0.9;

    /// <summary>Whether the gradient counts as if the momentum's step had been taken (Nesterov).</summary>
    /// <value>true</value>
    public bool IsNesterov { get; init; } = true;

    internal override OptimizerSpec ToSpec() => new() { Sgd = new SgdSpec { Momentum = Momentum, Nesterov = IsNesterov } };
}
