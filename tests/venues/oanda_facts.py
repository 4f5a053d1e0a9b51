"""OANDA's v20 REST API as far as the loopback venue serves it: routes, fields and types, as published.

`name other: type; ...` gives names a type: a key of PATTERNS or ENUMS, `int`, `bool`, a shape, or `[type]` for a list.
A shape's name alone stands for its fields. `type!` must be in a query, `type?` may be null. Shapes have their published
names; those in lower case are parts that several have in common.

Requests are complete. Of answers only what the venue gives is kept: fewer fields, transactions and reasons than are
published, never others. What a new answer needs is added here; test_oanda_facts.py compares it with the published
description, version 3.0.25. Two differences are meant: a clientOrderID is any text, not an order's number, and null
clears a trade's stop or target, for which Swagger 2 has no words.
"""

from __future__ import annotations

PATTERNS = {
    "str": r"(?s:.*)",
    "id": r"\d+",  # of orders, trades and transactions
    "account": r"\d+-\d+-\d+-\d+",
    "pair": r"[A-Z0-9]+_[A-Z0-9]+",
    "currency": r"[A-Z]{3}",
    "decimal": r"-?\d+(\.\d+)?",
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|\+00:00)|\d+(\.\d{1,9})?",
}

ENUMS = {
    "OrderType": "MARKET LIMIT STOP MARKET_IF_TOUCHED TAKE_PROFIT STOP_LOSS TRAILING_STOP_LOSS FIXED_PRICE",
    "TimeInForce": "GTC GTD GFD FOK IOC",
    "OrderPositionFill": "OPEN_ONLY REDUCE_FIRST REDUCE_ONLY DEFAULT",
    "OrderTriggerCondition": "DEFAULT INVERSE BID ASK MID",
    "OrderState": "PENDING FILLED TRIGGERED CANCELLED",
    "TradeState": "OPEN CLOSED CLOSE_WHEN_TRADEABLE",
    "PriceStatus": "tradeable non-tradeable invalid",
    "InstrumentType": "CURRENCY CFD METAL",
    "CandlestickGranularity": "S5 S10 S15 S30 M1 M2 M4 M5 M10 M15 M30 H1 H2 H3 H4 H6 H8 H12 D",
    "FundingReason": "CLIENT_FUNDING ACCOUNT_TRANSFER DIVISION_MIGRATION SITE_MIGRATION ADJUSTMENT",
    "AccountFinancingMode": "NO_FINANCING SECOND_BY_SECOND DAILY",
    "MarketOrderReason": "CLIENT_ORDER TRADE_CLOSE POSITION_CLOSEOUT MARGIN_CLOSEOUT DELAYED_TRADE_CLOSE",
    "MarketOrderMarginCloseoutReason": "MARGIN_CHECK_VIOLATION",
    "RestingOrderReason": "CLIENT_ORDER REPLACEMENT",
    "DependentOrderReason": "CLIENT_ORDER REPLACEMENT ON_FILL",
    "TransactionType": """
        CREATE TRANSFER_FUNDS DAILY_FINANCING ORDER_FILL ORDER_CANCEL ORDER_CANCEL_REJECT
        MARKET_ORDER LIMIT_ORDER STOP_ORDER TAKE_PROFIT_ORDER STOP_LOSS_ORDER
        MARKET_ORDER_REJECT LIMIT_ORDER_REJECT STOP_ORDER_REJECT TAKE_PROFIT_ORDER_REJECT STOP_LOSS_ORDER_REJECT""",
    "OrderFillReason": """
        MARKET_ORDER LIMIT_ORDER STOP_ORDER TAKE_PROFIT_ORDER STOP_LOSS_ORDER
        MARKET_ORDER_TRADE_CLOSE MARKET_ORDER_POSITION_CLOSEOUT MARKET_ORDER_MARGIN_CLOSEOUT""",
    "OrderCancelReason": """
        INTERNAL_SERVER_ERROR MIGRATION MARKET_HALTED INSTRUMENT_BID_HALTED INSTRUMENT_ASK_HALTED
        INSTRUMENT_BID_REDUCE_ONLY INSTRUMENT_ASK_REDUCE_ONLY INSUFFICIENT_LIQUIDITY INSUFFICIENT_MARGIN
        ACCOUNT_LOCKED ACCOUNT_NEW_POSITIONS_LOCKED ACCOUNT_ORDER_CREATION_LOCKED ACCOUNT_ORDER_FILL_LOCKED
        CLIENT_REQUEST CLIENT_REQUEST_REPLACED CLIENT_TRADE_ID_ALREADY_EXISTS LINKED_TRADE_CLOSED
        TIME_IN_FORCE_EXPIRED BOUNDS_VIOLATION FIFO_VIOLATION POSITION_CLOSEOUT_FAILED POSITION_SIZE_EXCEEDED
        STOP_LOSS_ON_FILL_LOSS TAKE_PROFIT_ON_FILL_LOSS OPEN_TRADES_ALLOWED_EXCEEDED PENDING_ORDERS_ALLOWED_EXCEEDED""",
    "TransactionRejectReason": """
        INTERNAL_SERVER_ERROR INSUFFICIENT_MARGIN PENDING_ORDERS_ALLOWED_EXCEEDED TIME_IN_FORCE_INVALID
        ACCOUNT_NOT_ACTIVE ACCOUNT_LOCKED ACCOUNT_ORDER_CREATION_LOCKED ACCOUNT_ORDER_CANCEL_LOCKED
        INSTRUMENT_MISSING INSTRUMENT_UNKNOWN INSTRUMENT_NOT_TRADEABLE INSTRUMENT_PRICE_UNKNOWN
        UNITS_MISSING UNITS_INVALID UNITS_PRECISION_EXCEEDED UNITS_LIMIT_EXCEEDED UNITS_MIMIMUM_NOT_MET
        PRICE_MISSING PRICE_INVALID PRICE_PRECISION_EXCEEDED PRICE_BOUND_INVALID PRICE_BOUND_PRECISION_EXCEEDED
        STOP_LOSS_ON_FILL_PRICE_MISSING STOP_LOSS_ON_FILL_PRICE_INVALID STOP_LOSS_ON_FILL_PRICE_PRECISION_EXCEEDED
        TAKE_PROFIT_ON_FILL_PRICE_MISSING TAKE_PROFIT_ON_FILL_PRICE_INVALID
        TAKE_PROFIT_ON_FILL_PRICE_PRECISION_EXCEEDED
        STOP_LOSS_ORDER_ALREADY_EXISTS TAKE_PROFIT_ORDER_ALREADY_EXISTS
        CLIENT_ORDER_ID_INVALID CLIENT_ORDER_ID_ALREADY_EXISTS ORDER_DOESNT_EXIST TRADE_DOESNT_EXIST
        TRADE_ID_UNSPECIFIED REPLACING_ORDER_INVALID REPLACING_TRADE_ID_INVALID
        CLOSE_TRADE_PARTIAL_UNITS_MISSING CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE
        CLOSEOUT_POSITION_DOESNT_EXIST CLOSEOUT_POSITION_UNITS_EXCEED_POSITION_SIZE""",
}

# A family's members are told apart by their `type`: MARKET is a MarketOrder, MARKET_ORDER a MarketOrderTransaction.
FAMILIES = ("Order", "OrderRequest", "Transaction")

SHAPES = {
    # What a client writes.
    "ClientExtensions": "id tag comment: str",
    "TakeProfitDetails": "price: decimal; timeInForce: TimeInForce; gtdTime: time; clientExtensions: ClientExtensions",
    "StopLossDetails": "TakeProfitDetails; distance: decimal; guaranteed: bool",
    "TrailingStopLossDetails": """
        distance: decimal; timeInForce: TimeInForce; gtdTime: time; clientExtensions: ClientExtensions""",
    "entry": """
        type: OrderType; instrument: pair; units: decimal; timeInForce: TimeInForce; positionFill: OrderPositionFill;
        clientExtensions tradeClientExtensions: ClientExtensions; takeProfitOnFill: TakeProfitDetails;
        stopLossOnFill: StopLossDetails; trailingStopLossOnFill: TrailingStopLossDetails""",
    "dependent": """
        type: OrderType; tradeID: id; clientTradeID: str; timeInForce: TimeInForce; gtdTime: time;
        triggerCondition: OrderTriggerCondition; clientExtensions: ClientExtensions""",
    "MarketOrderRequest": "entry; priceBound: decimal",
    "LimitOrderRequest": "entry; price: decimal; gtdTime: time; triggerCondition: OrderTriggerCondition",
    "StopOrderRequest": "LimitOrderRequest; priceBound: decimal",
    "MarketIfTouchedOrderRequest": "StopOrderRequest",
    "TakeProfitOrderRequest": "dependent; price: decimal",
    "StopLossOrderRequest": "dependent; price distance: decimal; guaranteed: bool",
    "TrailingStopLossOrderRequest": "dependent; distance: decimal",
    # Orders.
    "placed": """
        id: id; createTime: time; state: OrderState; fillingTransactionID cancellingTransactionID: id;
        filledTime cancelledTime: time; tradeOpenedID tradeReducedID: id; tradeClosedIDs: [id]""",
    "replaceable": "placed; replacesOrderID replacedByOrderID: id",
    "closing": """
        tradeClose: MarketOrderTradeClose; longPositionCloseout shortPositionCloseout: MarketOrderPositionCloseout;
        marginCloseout: MarketOrderMarginCloseout""",
    "MarketOrder": "MarketOrderRequest; closing; placed",
    "LimitOrder": "LimitOrderRequest; replaceable",
    "StopOrder": "StopOrderRequest; replaceable",
    "TakeProfitOrder": "TakeProfitOrderRequest; replaceable",
    "StopLossOrder": "StopLossOrderRequest; replaceable",
    "MarketOrderTradeClose": "tradeID: id; clientTradeID units: str",
    "MarketOrderPositionCloseout": "instrument: pair; units: str",
    "MarketOrderMarginCloseout": "reason: MarketOrderMarginCloseoutReason",
    # Transactions.
    "recorded": """
        type: TransactionType; id batchID: id; time: time; userID: int; accountID: account; requestID: str""",
    "refused": "intendedReplacesOrderID: id; rejectReason: TransactionRejectReason",
    "market": "MarketOrderRequest; closing; recorded; reason: MarketOrderReason",
    "limit": "LimitOrderRequest; recorded; reason: RestingOrderReason",
    "stop": "StopOrderRequest; recorded; reason: RestingOrderReason",
    "target": "TakeProfitOrderRequest; recorded; reason: DependentOrderReason; orderFillTransactionID: id",
    "protection": "StopLossOrderRequest; recorded; reason: DependentOrderReason; orderFillTransactionID: id",
    "MarketOrderTransaction": "market",
    "LimitOrderTransaction": "limit; replacesOrderID: id",
    "StopOrderTransaction": "stop; replacesOrderID: id",
    "TakeProfitOrderTransaction": "target; replacesOrderID: id",
    "StopLossOrderTransaction": "protection; replacesOrderID: id",
    "MarketOrderRejectTransaction": "market; rejectReason: TransactionRejectReason",
    "LimitOrderRejectTransaction": "limit; refused",
    "StopOrderRejectTransaction": "stop; refused",
    "TakeProfitOrderRejectTransaction": "target; refused",
    "StopLossOrderRejectTransaction": "protection; refused",
    "OrderFillTransaction": """
        recorded; orderID: id; clientOrderID: str; instrument: pair; reason: OrderFillReason; fullPrice: ClientPrice;
        units price fullVWAP gainQuoteHomeConversionFactor lossQuoteHomeConversionFactor: decimal;
        pl financing commission guaranteedExecutionFee halfSpreadCost accountBalance: decimal;
        tradeOpened: TradeOpen; tradeReduced: TradeReduce; tradesClosed: [TradeReduce]""",
    "OrderCancelTransaction": """
        recorded; orderID: id; clientOrderID: str; reason: OrderCancelReason; replacedByOrderID: id""",
    "OrderCancelRejectTransaction": """
        recorded; orderID: id; clientOrderID: str; rejectReason: TransactionRejectReason""",
    "CreateTransaction": "recorded; homeCurrency: currency",
    "TransferFundsTransaction": "recorded; amount accountBalance: decimal; fundingReason: FundingReason",
    "DailyFinancingTransaction": """
        recorded; financing accountBalance: decimal; accountFinancingMode: AccountFinancingMode;
        positionFinancings: [PositionFinancing]""",
    "TradeOpen": """
        tradeID: id; units price guaranteedExecutionFee halfSpreadCost initialMarginRequired: decimal;
        clientExtensions: ClientExtensions""",
    "TradeReduce": "tradeID: id; units price realizedPL financing guaranteedExecutionFee halfSpreadCost: decimal",
    "PositionFinancing": "instrument: pair; financing: decimal; openTradeFinancings: [OpenTradeFinancing]",
    "OpenTradeFinancing": "tradeID: id; financing: decimal",
    # Trades, positions, accounts.
    "held": """
        id: id; instrument: pair; state: TradeState; price averageClosePrice: decimal; openTime closeTime: time;
        initialUnits currentUnits initialMarginRequired marginUsed realizedPL unrealizedPL financing: decimal;
        closingTransactionIDs: [id]; clientExtensions: ClientExtensions""",
    "Trade": "held; takeProfitOrder: TakeProfitOrder; stopLossOrder: StopLossOrder",
    "TradeSummary": "held; takeProfitOrderID stopLossOrderID: id",
    "Position": """
        instrument: pair; long short: PositionSide;
        pl resettablePL unrealizedPL marginUsed financing commission: decimal""",
    "PositionSide": "tradeIDs: [id]; units averagePrice pl resettablePL unrealizedPL financing: decimal",
    "moving": """
        NAV unrealizedPL positionValue withdrawalLimit marginUsed marginAvailable marginCallMarginUsed: decimal;
        marginCallPercent marginCloseoutNAV marginCloseoutUnrealizedPL marginCloseoutMarginUsed: decimal;
        marginCloseoutPercent marginCloseoutPositionValue: decimal""",
    "AccountProperties": "id: account; tags: [str]",
    "AccountSummary": """
        moving; id: account; alias: str; currency: currency; createdByUserID: int; createdTime: time;
        balance pl resettablePL financing commission: decimal; hedgingEnabled: bool;
        openTradeCount openPositionCount pendingOrderCount: int; lastTransactionID: id""",
    "Account": "AccountSummary; orders: [Order]; trades: [TradeSummary]; positions: [Position]",
    "AccountChanges": """
        ordersCreated ordersCancelled ordersFilled ordersTriggered: [Order]; positions: [Position];
        tradesOpened tradesReduced tradesClosed: [TradeSummary]; transactions: [Transaction]""",
    "AccountChangesState": """
        moving; orders: [DynamicOrderState]; trades: [CalculatedTradeState]; positions: [CalculatedPositionState]""",
    "DynamicOrderState": "id: id",
    "CalculatedTradeState": "id: id; unrealizedPL marginUsed: decimal",
    "CalculatedPositionState": """
        instrument: pair; netUnrealizedPL longUnrealizedPL shortUnrealizedPL marginUsed: decimal""",
    # Instruments and prices.
    "Instrument": """
        name: pair; type: InstrumentType; displayName: str; pipLocation displayPrecision tradeUnitsPrecision: int;
        minimumTradeSize maximumOrderUnits maximumPositionSize marginRate: decimal""",
    "ClientPrice": """
        type: str; instrument: pair; time: time; status: PriceStatus; tradeable: bool; bids asks: [PriceBucket];
        closeoutBid closeoutAsk: decimal; quoteHomeConversionFactors: QuoteHomeConversionFactors""",
    "PriceBucket": "price: decimal; liquidity: int",
    "QuoteHomeConversionFactors": "positiveUnits negativeUnits: decimal",
    "HomeConversions": "currency: currency; accountGain accountLoss positionValue: decimal",
    "Candlestick": "time: time; bid ask mid: CandlestickData; volume: int; complete: bool",
    "CandlestickData": "o h l c: decimal",
    # Parts of queries and bodies.
    "listing": "ids: [id]; state: str; instrument: pair; count: int; beforeID: id",
    "charting": """
        price granularity: str; count: int; from to: time; smooth includeFirst: bool; dailyAlignment: int;
        alignmentTimezone weeklyAlignment: str""",
    "chart": "instrument: pair; granularity: CandlestickGranularity; candles: [Candlestick]",
    "last": "lastTransactionID: id",
    "done": "relatedTransactionIDs: [id]; last",
    "problem": "errorCode errorMessage: str",
    "failed": "done; problem",
}

# A refusal is a `problem`, unless a route says more of it.
REFUSALS = (400, 401, 403, 404, 405, 416)

# By method and route: query, body, and the answers by status.
OPERATIONS = {
    "GET /accounts": {"200": "accounts: [AccountProperties]"},
    "GET /accounts/{accountID}": {"200": "account: Account; last"},
    "GET /accounts/{accountID}/summary": {"200": "account: AccountSummary; last"},
    "GET /accounts/{accountID}/instruments": {"query": "instruments: [pair]", "200": "instruments: [Instrument]; last"},
    "GET /accounts/{accountID}/changes": {
        "query": "sinceTransactionID: id",
        "200": "changes: AccountChanges; state: AccountChangesState; last",
    },
    "GET /accounts/{accountID}/pricing": {
        "query": "instruments: [pair]!; since: time; includeUnitsAvailable includeHomeConversions: bool",
        "200": "prices: [ClientPrice]; homeConversions: [HomeConversions]; time: time",
    },
    "GET /instruments/{instrument}/candles": {"query": "charting", "200": "chart"},
    "GET /accounts/{accountID}/instruments/{instrument}/candles": {"query": "charting; units: decimal", "200": "chart"},
    "POST /accounts/{accountID}/orders": {
        "body": "order: OrderRequest",
        "201": """
            orderCreateTransaction: Transaction; orderFillTransaction: OrderFillTransaction;
            orderCancelTransaction: OrderCancelTransaction; done""",
        "400": "orderRejectTransaction: Transaction; failed",
    },
    "GET /accounts/{accountID}/orders": {"query": "listing", "200": "orders: [Order]; last"},
    "GET /accounts/{accountID}/pendingOrders": {"200": "orders: [Order]; last"},
    "GET /accounts/{accountID}/orders/{orderSpecifier}": {"200": "order: Order; last"},
    "PUT /accounts/{accountID}/orders/{orderSpecifier}": {
        "body": "order: OrderRequest",
        "201": """
            orderCreateTransaction: Transaction; orderFillTransaction: OrderFillTransaction;
            orderCancelTransaction replacingOrderCancelTransaction: OrderCancelTransaction; done""",
        "400": "orderRejectTransaction: Transaction; failed",
        "404": "orderCancelRejectTransaction: Transaction; failed",
    },
    "PUT /accounts/{accountID}/orders/{orderSpecifier}/cancel": {
        "200": "orderCancelTransaction: OrderCancelTransaction; done",
        "404": "orderCancelRejectTransaction: OrderCancelRejectTransaction; failed",
    },
    "GET /accounts/{accountID}/trades": {"query": "listing", "200": "trades: [Trade]; last"},
    "GET /accounts/{accountID}/openTrades": {"200": "trades: [Trade]; last"},
    "GET /accounts/{accountID}/trades/{tradeSpecifier}": {"200": "trade: Trade; last"},
    "PUT /accounts/{accountID}/trades/{tradeSpecifier}/close": {
        "body": "units: str",
        "200": """
            orderCreateTransaction: MarketOrderTransaction; orderFillTransaction: OrderFillTransaction;
            orderCancelTransaction: OrderCancelTransaction; done""",
        "400": "orderRejectTransaction: MarketOrderRejectTransaction; problem",
        "404": "orderRejectTransaction: MarketOrderRejectTransaction; failed",
    },
    "PUT /accounts/{accountID}/trades/{tradeSpecifier}/orders": {
        "body": """
            takeProfit: TakeProfitDetails?; stopLoss: StopLossDetails?; trailingStopLoss: TrailingStopLossDetails?""",
        "200": """
            takeProfitOrderTransaction: TakeProfitOrderTransaction; stopLossOrderTransaction: StopLossOrderTransaction;
            takeProfitOrderFillTransaction stopLossOrderFillTransaction: OrderFillTransaction;
            takeProfitOrderCancelTransaction stopLossOrderCancelTransaction: OrderCancelTransaction;
            takeProfitOrderCreatedCancelTransaction stopLossOrderCreatedCancelTransaction: OrderCancelTransaction;
            done""",
        "400": """
            takeProfitOrderRejectTransaction: TakeProfitOrderRejectTransaction;
            stopLossOrderRejectTransaction: StopLossOrderRejectTransaction; failed""",
    },
    "GET /accounts/{accountID}/positions": {"200": "positions: [Position]; last"},
    "GET /accounts/{accountID}/openPositions": {"200": "positions: [Position]; last"},
    "GET /accounts/{accountID}/positions/{instrument}": {"200": "position: Position; last"},
    "PUT /accounts/{accountID}/positions/{instrument}/close": {
        "body": "longUnits shortUnits: str; longClientExtensions shortClientExtensions: ClientExtensions",
        "200": """
            longOrderCreateTransaction shortOrderCreateTransaction: MarketOrderTransaction;
            longOrderFillTransaction shortOrderFillTransaction: OrderFillTransaction;
            longOrderCancelTransaction shortOrderCancelTransaction: OrderCancelTransaction; done""",
        "400": "longOrderRejectTransaction shortOrderRejectTransaction: MarketOrderRejectTransaction; failed",
        "404": "longOrderRejectTransaction shortOrderRejectTransaction: MarketOrderRejectTransaction; failed",
    },
    "GET /accounts/{accountID}/transactions": {
        "query": "from to: time; pageSize: int; type: [str]",
        "200": "from to: time; pageSize count: int; pages: [str]; last",
    },
    "GET /accounts/{accountID}/transactions/{transactionID}": {"200": "transaction: Transaction; last"},
    "GET /accounts/{accountID}/transactions/idrange": {
        "query": "from to: id!; type: [str]",
        "200": "transactions: [Transaction]; last",
    },
    "GET /accounts/{accountID}/transactions/sinceid": {"query": "id: id!", "200": "transactions: [Transaction]; last"},
}

# Published, and answered with 501 here: a 404 would look like an order that is not there.
UNSERVED = (
    "PATCH /accounts/{accountID}/configuration",
    "PUT /accounts/{accountID}/orders/{orderSpecifier}/clientExtensions",
    "PUT /accounts/{accountID}/trades/{tradeSpecifier}/clientExtensions",
    "GET /accounts/{accountID}/pricing/stream",
    "GET /accounts/{accountID}/transactions/stream",
    "GET /instruments/{instrument}/orderBook",
    "GET /instruments/{instrument}/positionBook",
    "GET /instruments/{instrument}/price",
    "GET /instruments/{instrument}/price/range",
    "GET /pricing",
    "GET /pricing/range",
    "GET /users/{userSpecifier}",
    "GET /users/{userSpecifier}/externalInfo",
)
