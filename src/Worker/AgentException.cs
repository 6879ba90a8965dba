namespace MLDistributed.Worker;

/// <summary>The agent cannot go on until somebody changes something: the message says what.</summary>
public sealed class AgentException : Exception
{
    /// <summary>Ends the agent with this message.</summary>
    public AgentException(string message, Exception? inner = null) : base(message, inner)
    {
    }
}
