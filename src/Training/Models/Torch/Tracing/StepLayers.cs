using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>Layers over the steps of a sequence: recurrences, attention, and encoders of it.</summary>
internal static class StepLayers
{
    /// <summary>Whether it is one.</summary>
    public static bool IsOne(object? layer) => layer is LSTM or GRU or RNN or MultiheadAttention or TransformerEncoderLayer or TransformerEncoder;

    /// <summary>Has a listener hear of a layer's calls; null: it is another kind.</summary>
    public static Action? Watch(nn.Module layer, CallListener listener)
    {
        if (!IsOne(layer))
            return null;
        var method = layer.GetType().GetMethods().First(m => m.Name == "forward");
        void Hear(object? result, params object?[] arguments) => listener(method, "", [layer, .. arguments], result);
        switch (layer)
        {
            case LSTM lstm:
                return lstm.register_forward_hook((_, x, state, y) => { Hear(y, x, state); return y; }).remove;
            case GRU gru:
                return gru.register_forward_hook((_, x, state, y) => { Hear(y, x, state); return y; }).remove;
            case RNN rnn:
                return rnn.register_forward_hook((_, x, state, y) => { Hear(y, x, state); return y; }).remove;
            case MultiheadAttention attention:
                return attention.register_forward_hook((_, query, key, value, hidden, needsWeights, mask, y) => { Hear(y, query, key, value, hidden, needsWeights, mask); return y; }).remove;
            case TransformerEncoder encoder:
                return encoder.register_forward_hook((_, x, mask, hidden, y) => { Hear(y, x, mask, hidden); return y; }).remove;
            default:
                return ((TransformerEncoderLayer)layer).register_forward_hook((_, x, y) => { Hear(y, x); return y; }).remove;
        }
    }

    /// <summary>How each of a layer's results is written, or why it cannot be.</summary>
    /// <exception cref="NotTracedException">The layer is used in a way that cannot be written.</exception>
    public static IEnumerable<(Mapping? Mapping, string? Why)> Of(StepCall call) => call.Layer is LSTM or GRU or RNN ? RecurrentLayers.Of(call) : AttentionLayers.Of(call);
}
